"""`perdure functions …`: what is deployed, and what is paused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from perdure import App, Context
from perdure.cli.root import app as commands


def perdure(*arguments: str) -> Result:
    return CliRunner().invoke(commands, list(arguments))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)
    shop = App("shop", log=url)

    @shop.function(on="order/placed")
    async def bill(ctx: Context) -> str:
        return "billed"

    async def serve() -> None:
        async with shop.worker():
            await shop.send("order/placed", {})
        await shop.close()

    asyncio.run(serve())
    return shop


async def _skips(shop: App) -> list[str]:
    async with shop.worker():
        await shop.send("order/placed", {}, id="missed")
        async with asyncio.timeout(10):
            while not (found := await shop.runs.skipped()):
                await asyncio.sleep(0.01)
    await shop.close()
    return [skip.reason for skip in found]


def test_a_function_is_paused_and_resumed(shop: App) -> None:
    assert json.loads(perdure("functions", "list", "--json").stdout) == [
        {"id": "bill", "triggers": ["order/placed"], "schedules": [], "paused": None}
    ]
    done = perdure("functions", "pause", "bill", "--reason", "the bank is away")
    assert (done.exit_code, done.stdout.startswith("bill is paused")) == (0, True)
    assert "the bank is away" in perdure("functions", "list").stdout
    assert asyncio.run(_skips(shop)) == ["the function is paused: the bank is away"]
    assert perdure("functions", "resume", "bill").stdout == "bill starts again\n"
    paused = json.loads(perdure("functions", "pause", "bill", "--json").stdout)
    resumed = json.loads(perdure("functions", "resume", "bill", "--json").stdout)
    assert (paused, resumed) == ({"id": "bill", "paused": ""}, {"id": "bill", "paused": None})
    (bill,) = json.loads(perdure("functions", "list", "--json").stdout)
    assert bill["paused"] is None


def test_a_function_that_is_not_there(shop: App) -> None:
    refused = perdure("functions", "pause", "bil")
    assert (refused.exit_code, "did you mean bill?" in refused.output) == (2, True)
