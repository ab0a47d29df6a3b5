"""`perdure functions limits | set-limit | reset-limits`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from perdure import App, Concurrency, Context, Throttle
from perdure.cli.root import app as commands


def perdure(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["functions", *arguments])


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)
    shop = App("shop", log=url)

    @shop.function(
        on="order/placed",
        concurrency=[Concurrency(3), Concurrency(1, key="event.data.who")],
        throttle=Throttle(10, "1m"),
    )
    async def bill(ctx: Context) -> str:
        return "billed"

    async def serve() -> None:
        async with shop.worker():
            pass
        await shop.close()

    asyncio.run(serve())


def test_a_limit_is_changed_listed_and_reset() -> None:
    assert "Throttle()" in perdure("limits").stdout
    done = perdure("set-limit", "bill", "throttle", "--limit", "60", "--burst", "5")
    assert (done.exit_code, done.stdout) == (0, "Throttle() of bill: limit 60, period 1m, burst 5\n")
    (listed,) = [one for one in json.loads(perdure("limits", "--json").stdout) if one["kind"] == "throttle"]
    assert listed == {
        "id": "throttle:bill:",
        "functions": ["bill"],
        "kind": "throttle",
        "key": None,
        "numbers": {"limit": 60, "period": 60.0, "burst": 5},
        "declared": {"limit": 10, "period": 60.0},
    }
    shown = perdure("limits").stdout
    assert "limit 60, period 1m, burst 5" in shown
    assert "limit 10, period 1m" in shown
    keyed = perdure("set-limit", "bill", "concurrency", "--limit", "2", "--key", "event.data.who", "--json")
    assert [one["numbers"] for one in json.loads(keyed.stdout)] == [{"limit": 2}]
    assert perdure("reset-limits", "bill").stdout == "the limits of bill are as in the code\n"
    assert all(one["numbers"] == one["declared"] for one in json.loads(perdure("limits", "--json").stdout))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bill", "concurrency", "--limit", "2"), "say which with --key and --unit"),
        (("bill", "batch", "--limit", "2"), "has no such limit 'batch' in force; there is Throttle()"),
        (("bill", "throttle"), "say what is to change: throttle takes --limit, --period, --burst"),
        (("bill", "throttle", "--max-bytes", "9"), "throttle has no --max-bytes"),
        (("bill", "throttle", "--limit", "0"), "to let nothing start, pause the function"),
        (("bill", "throttle", "--period", "soon"), "soon"),
        (("bull", "throttle", "--limit", "2"), "did you mean bill?"),
    ],
)
def test_what_cannot_be_says_what_can(arguments: tuple[str, ...], says: str) -> None:
    done = perdure("set-limit", *arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
