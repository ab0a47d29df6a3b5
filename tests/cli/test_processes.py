"""The commands as processes: code that changes, signals, deaths."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.cli.terminal import perdure, screen, told

SHOP = """
import asyncio
from pathlib import Path

from perdure import App, Context, Event

app = App("shop")


class Ordered(Event, name="shop/ordered", key="data.order"):
    order: str


async def charge(order: str) -> str:
    return f"PAID {order}"


async def pack(order: str) -> str:
    Path(f"packing-{order}").touch()
    while not Path("packed").exists():
        await asyncio.sleep(0.01)
    return f"packed {order}"


@app.function(on=Ordered)
async def sell(ctx: Context[Ordered]) -> str:
    return await ctx.step.run("charge", charge, ctx.event.data.order)


@app.function(on="shop/packing", retries=0)
async def ship(ctx: Context) -> str:
    await ctx.step.run("charge", charge, ctx.event.data["order"])
    return await ctx.step.run("pack", pack, ctx.event.data["order"])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / ".perdure").mkdir()
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def order(shop: Path, number: str) -> None:
    told(shop, "events", "send", "shop/ordered", json.dumps({"order": number}))


def test_dev_loads_code_that_changes_and_keeps_the_old_when_it_cannot(shop: Path) -> None:
    with screen(shop, "dev", "shop.py:app") as dev:
        dev.until(rf"log +{shop}/.perdure/log.db")
        dev.until(r"on +sell +← shop/ordered")
        dev.until(r"ready: leads all 8 partitions")
        sent = perdure(shop, "events", "send", "shop.py:app", "shop/ordered", '{"order": "one"}')
        assert sent.returncode == 0, sent.stderr
        dev.until(r'sell +\S+ +started by shop/ordered {"order":"one"}')
        dev.until(r'charge +done in .*→ "PAID one"')
        dev.until(r"sell +\S+ +completed in")

        (shop / "shop.py").write_text(SHOP + "\nthis is no Python\n")
        dev.until(r"not loaded: shop.py, line \d+: SyntaxError: .*\n +this is no Python\n")
        dev.until(r"the worker goes on with the code from before")
        order(shop, "two")
        dev.until(r'completed in .*→ "PAID two"')

        (shop / "shop.py").write_text(SHOP.replace("PAID", "paid at once"))
        dev.until(r"changed: shop.py")
        dev.until(r"ready: leads all 8 partitions")
        order(shop, "three")
        dev.until(r'completed in .*→ "paid at once three"')

        dev.send(signal.SIGINT)
        dev.until(r"stopping")
        assert dev.exit_code() == 0
        assert "\x1b" not in dev.text, "colours are for terminals"
        assert "Traceback" not in dev.text


def test_dev_waits_for_code_that_was_never_right(shop: Path) -> None:
    (shop / "shop.py").write_text("from perdure import Apple\n")
    with screen(shop, "dev", "shop.py") as dev:
        dev.until(r"not loaded: shop.py, line 1: ImportError: cannot import name 'Apple'")
        dev.until(r"runs wait in the log")
        (shop / "shop.py").write_text(SHOP)
        dev.until(r"ready")
        dev.send(signal.SIGTERM)
        assert dev.exit_code() == 0


def test_kill_9_loses_nothing_and_a_worker_drains(shop: Path) -> None:
    with screen(shop, "dev", "shop.py:app") as dev:
        dev.until("ready")
        told(shop, "events", "send", "shop/packing", '{"order": "A"}')
        dev.until(r"pack +running for")
        dev.kill()
    listed = perdure(shop, "runs", "list", "--json")
    (run,) = json.loads(listed.stdout)
    assert (run["function"], run["status"]) == ("ship", "running"), listed
    shown = told(shop, "runs", "show", run["id"])
    assert re.search(r"^charge +step +completed +1 .*PAID A.*\npack +step +running", shown, re.MULTILINE), (
        shown
    )
    assert "every rule holds; 1 live run waits" in told(shop, "doctor")

    with screen(shop, "worker", "shop.py:app", "--slots", "10", "--verbose") as worker:
        worker.until(r"ship +\S+ +goes on after \d+ ops in the log")
        worker.until(r"pack +running for")
        worker.send(signal.SIGTERM)
        worker.until("draining")
        (shop / "packed").touch()
        assert worker.exit_code() == 0, worker.text
    view = json.loads(told(shop, "runs", "show", run["id"], "--json"))
    assert [(step["id"], step["output"]) for step in view["steps"]] == [
        ("charge", "PAID A"),
        ("pack", "packed A"),
    ]
    assert view["status"] == "completed"


def test_a_second_ctrl_c_stops_at_once(shop: Path) -> None:
    with screen(shop, "dev", "shop.py:app", "--drain", "1h") as dev:
        dev.until("ready")
        told(shop, "events", "send", "shop/packing", '{"order": "B"}')
        dev.until(r"pack +running for")
        dev.send(signal.SIGINT)
        dev.until("running steps may end; again: stop at once")
        dev.send(signal.SIGINT)
        dev.until("at once")
        assert dev.exit_code() == 130
