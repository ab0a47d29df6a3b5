"""`perdure dev` when something is not right: the log, the code, a step that takes long, a run that does not fit."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.terminal import perdure, screen, told

SHOP = """
import asyncio
from pathlib import Path

from perdure import App, Context

app = App("shop")


def charge(order: str) -> str:
    return f"paid {order}"


async def slow() -> None:
    Path("slow-runs").touch()
    while not Path("slow-ends").exists():
        await asyncio.sleep(0.01)


@app.function(on="shop/ordered")
async def sell(ctx: Context) -> str:
    paid = await ctx.step.run("charge", charge, "7")
    await ctx.step.wait_for_event("sent", "shop/sent")
    return paid


@app.function(on="shop/slow")
async def dawdle(ctx: Context) -> None:
    await ctx.step.run("slow", slow)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / ".perdure").mkdir()
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


# --- the log ----------------------------------------------------------------------------------------------------------


def _of_another_app(shop: Path) -> str:
    (shop / "other.py").write_text("from perdure import App\napp = App('other')\n")
    with screen(shop, "worker", "other.py:app") as worker:
        worker.until(r"ready")
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == 0
    return f"sqlite:///{shop}/.perdure/log.db"


def _of_something_else(shop: Path) -> str:
    with closing(sqlite3.connect(shop / "foreign.db")) as foreign:
        foreign.execute("CREATE TABLE notes (text TEXT)")
        foreign.commit()
    return f"sqlite:///{shop}/foreign.db"


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (_of_another_app, 2, r"is that of the app 'other'; give 'shop' one of its own"),
        (lambda _shop: "garbage", 2, r"'garbage' is not the URL of a log; use sqlite:///"),
        (_of_something_else, 1, r"foreign.db is a SQLite database of something else than perdure"),
        (lambda shop: f"sqlite:///{shop}/shop.py/log.db", 1, r"shop.py"),
    ],
    ids=["another app's", "garbage", "something else", "below a file"],
)
def test_a_log_that_cannot_be_used_ends_dev_with_one_line_as_it_does_a_worker(
    shop: Path, make: Callable[[Path], str], code: int, said: str
) -> None:
    log = make(shop)
    ended = perdure(shop, "dev", "shop.py:app", "--log", log)
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    assert re.fullmatch(rf"perdure: .*{said}.*\n", ended.stderr), ended.stderr
    assert "waiting" not in ended.stdout
    if log == "garbage":
        worker = perdure(shop, "worker", "shop.py:app", "--log", log)
        assert (worker.returncode, worker.stderr) == (code, ended.stderr)


def test_a_change_that_brings_a_wrong_log_waits_for_one_that_mends_it(shop: Path) -> None:
    with screen(shop, "dev", "shop.py:app") as dev:
        dev.until("ready")
        (shop / "shop.py").write_text(SHOP.replace('App("shop")', 'App("shop2")'))
        dev.until(r"not started: the log at .* is that of the app 'shop'; give 'shop2' one of its own")
        dev.until(r"waiting: for a change that mends it; until then runs wait in the log\n")
        (shop / "shop.py").write_text(SHOP)
        dev.until("ready")
        assert "Traceback" not in dev.text


# --- a run that does not fit ------------------------------------------------------------------------------------------


def test_resuming_a_run_that_the_code_still_does_not_fit_says_so(shop: Path) -> None:
    with screen(shop, "dev", "shop.py:app") as dev:
        dev.until("ready")
        told(shop, "events", "send", "shop/ordered")
        dev.until(r"sent +waiting for shop/sent")
        (run,) = json.loads(told(shop, "runs", "list", "--json"))
        (shop / "shop.py").write_text(SHOP.replace('"charge", charge', '"bill", charge'))
        dev.until("ready")
        told(shop, "events", "send", "shop/sent")
        dev.until(r"parked +non-determinism: .*bill")
        assert "1 live run waits for a person" in told(shop, "doctor")
        assert f"perdure runs resume {run['id'].removeprefix('1p')[:8]}" in told(shop, "doctor")

        (shop / "shop.py").write_text(SHOP.replace('"charge", charge', '"levy", charge'))
        dev.until("ready")
        said = told(shop, "runs", "resume", run["id"])
        assert re.search(
            r"is parked still: the code that is deployed now still does not fit its record: .*levy.*"
            r"; the run goes on as soon as code that fits is loaded\n",
            said,
        ), said
        dev.until(r"sell +\S+ +still does not fit .*levy")

        (shop / "shop.py").write_text(SHOP)
        dev.until(r'completed in .* "paid 7"')


# --- the code ---------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_an_import_hangs(shop: Path) -> None:
    (shop / "hang.py").write_text(
        "import time\nfrom perdure import App\ntime.sleep(100)\napp = App('hang')\n"
    )
    with screen(shop, "dev", "hang.py", before="import perdure.cli.dev as d; d.LOADING_S = (0.3, 60)") as dev:
        dev.until(r"still loading: hang.py \(0.3 s\)")
        dev.send(signal.SIGINT)
        dev.until("stopping")
        assert dev.exit_code() == 0
        assert "Loop" not in dev.text


def test_what_bodies_and_steps_print_has_lines_of_its_own(shop: Path) -> None:
    (shop / "loud.py").write_text(
        "from perdure import App, Context\n\napp = App('loud')\n\n\n"
        "def shout(n):\n    for k in range(20):\n        print('one', 'two', sep='\\n')\n\n\n"
        "@app.function(on='loud/all')\nasync def loud(ctx: Context) -> None:\n"
        "    await ctx.step.map('shout', shout, list(range(60)))\n"
    )
    with screen(shop, "dev", "loud.py") as dev:
        dev.until("ready.*\n")
        began = len(dev.text)
        told(shop, "events", "send", "loud/all")
        dev.until("completed in")
        lines = dev.text[began:].splitlines()
    assert lines.count("one") == lines.count("two") == 1_200
    assert {line for line in lines if not re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", line)} == {"one", "two"}


def test_a_change_while_a_step_runs_says_what_it_waits_for(shop: Path) -> None:
    with screen(shop, "dev", "shop.py:app", "--drain", "20") as dev:
        dev.until(r"watch +\S.*takes over once running steps have ended, within 20 s")
        dev.until("ready")
        told(shop, "events", "send", "shop/slow")
        told(shop, "events", "send", "shop/slow")
        dev.until(r"slow +running for")
        (shop / "shop.py").write_text(SHOP + "\n# changed\n")
        dev.until("changed: shop.py")
        dev.until(r"draining: waits up to 20 s for 2 running steps \(slow of \d-\w{6}, slow of \d-\w{6}\)")
        (shop / "slow-ends").touch()
        dev.until("ready")


# --- neighbours and wishes --------------------------------------------------------------------------------------------


def test_a_share_of_the_partitions_that_changes_is_told_once(shop: Path) -> None:
    with screen(shop, "worker", "shop.py:app") as first:
        first.until(r"ready: leads all 8 partitions")
        with screen(shop, "worker", "shop.py:app") as second:
            first.until(r"leads: 4 of 8 partitions now, 8 before\n")
            second.until(r"ready: leads \d of 8 partitions")
            second.send(signal.SIGTERM)
            second.until("drained")
        first.until(r"leads: all 8 partitions now, 4 before\n")
        first.send(signal.SIGTERM)
        assert first.exit_code() == 0
        assert first.text.count("leads: ") <= 4, "one line for a burst, not one for each partition"


def test_a_cancel_that_the_code_does_not_heed_says_what_does(shop: Path) -> None:
    (shop / "deaf.py").write_text(
        "import asyncio\nfrom perdure import App, Context\n\napp = App('deaf')\n\n\n"
        "@app.function(on='deaf/run')\nasync def deaf(ctx: Context) -> None:\n"
        "    while True:\n        try:\n            await ctx.step.wait_for_event('never', 'deaf/never')\n"
        "        except asyncio.CancelledError:\n            continue\n"
    )
    with screen(shop, "worker", "deaf.py", "--verbose") as worker:
        worker.until("ready")
        told(shop, "events", "send", "deaf/run")
        worker.until("waiting for deaf/never")
        (run,) = json.loads(told(shop, "runs", "list", "--json"))
        said = told(shop, "runs", "cancel", run["id"])
        assert re.search(
            r"is running still: its code was told, .*; --force cancels without asking it\n", said
        ), said
        assert "is cancelled" in told(shop, "runs", "cancel", run["id"], "--force")
