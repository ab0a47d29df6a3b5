"""The commands as processes: code that changes, signals, deaths."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from perdure.cli.children import signal_to
from tests.cli.terminal import Screen, perdure, screen, told
from tests.crash.processes import until

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


def pids(screen: Screen, count: int) -> list[int]:
    """The processes that a supervisor has, once there are so many."""
    parent = screen.process.pid

    def found() -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    until(lambda: len(found()) == count, f"{parent} has {count} processes")
    return found()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_several_processes_share_the_work_and_one_that_dies_is_replaced(shop: Path) -> None:
    with screen(shop, "worker", "shop.py:app", "--processes", "2", "--verbose") as workers:
        workers.until(r"perdure worker shop.py:app, 2 processes")
        workers.until(r"1 \|   on +sell +← shop/ordered")
        workers.until(r"leads(: 4 of 8| 4 of 8)")
        victim, other = pids(workers, 2)
        order(shop, "one")
        workers.until(r'[12] \| .*completed in .*→ "PAID one"')

        os.kill(victim, signal.SIGKILL)
        workers.until(r"died: process [12] \(killed by SIGKILL\); it is started again in 500 ms")
        assert set(pids(workers, 2)) & {victim, other} == {other}
        for number in range(8):
            order(shop, f"after-{number}")
        until(lambda: told(shop, "runs", "list").count("completed") == 9, "all orders are sold")
        assert "on    " not in workers.text[workers.text.index("died") :], "said once"
        workers.until(r"leads(: 4 of 8| 4 of 8)")

        workers.send(signal.SIGTERM)
        workers.until(r"stopping: SIGTERM; running steps may end, within 30 s")
        assert workers.exit_code() == 0, workers.text
        assert workers.text.count("drained") == 2
        assert "Traceback" not in workers.text


def test_a_drain_goes_through_to_the_process_that_works(shop: Path) -> None:
    with screen(shop, "worker", "shop.py:app", "--processes", "2", "--verbose") as workers:
        workers.until(r"ready")
        told(shop, "events", "send", "shop/packing", '{"order": "A"}')
        until(lambda: (shop / "packing-A").exists(), "its step runs")
        workers.send(signal.SIGINT)
        workers.until(r"draining.* waits up to 30 s")
        (shop / "packed").touch()
        assert workers.exit_code() == 0, workers.text
    assert '"completed"' in told(shop, "runs", "list", "--json")


def test_a_second_signal_stops_all_processes_at_once(shop: Path) -> None:
    with screen(shop, "worker", "shop.py:app", "--processes", "2", "--drain", "1h") as workers:
        workers.until(r"ready")
        told(shop, "events", "send", "shop/packing", '{"order": "A"}')
        until(lambda: (shop / "packing-A").exists(), "its step runs")
        workers.send(signal.SIGTERM)
        workers.until(r"draining")
        workers.send(signal.SIGTERM)
        assert workers.exit_code() == 143, workers.text


def test_a_signal_to_a_process_that_has_just_died_leaves_it_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dying() -> int:
        if sys.version_info < (3, 12):  # later ones wait for their children like this by themselves
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(asyncio.get_running_loop())
            monkeypatch.setattr(asyncio.get_event_loop_policy(), "get_child_watcher", lambda: watcher)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the event loop is not to know yet
        signal_to(process, signal.SIGTERM)
        return await process.wait()

    assert asyncio.run(dying()) == 7


def test_processes_drain_when_their_supervisor_is_killed(shop: Path) -> None:
    with screen(shop, "worker", "shop.py:app", "--processes", "2") as workers:
        workers.until(r"leads(: 4 of 8| 4 of 8)")
        children = pids(workers, 2)
        os.kill(workers.process.pid, signal.SIGKILL)
        assert workers.exit_code() == -9
        until(lambda: all(map(is_gone, children)), "they are gone")


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("from perdure import Apple\n", 2, r"1 \| perdure: shop.py, line 1: ImportError"),
        (
            "from perdure import App\napp = App('shop', log='memory:')\n",
            2,
            "a log in memory is one process's",
        ),
        ("from perdure import App\napp = App('shop', log='mysql:x')\n", 2, "is not the URL of a log"),
    ],
)
def test_what_cannot_work_is_not_tried_again(shop: Path, code: str, exit_code: int, words: str) -> None:
    (shop / "shop.py").write_text(code)
    with screen(shop, "worker", "shop.py", "--processes", "2") as workers:
        workers.until(words)
        assert workers.exit_code() == exit_code, workers.text
        assert "started again" not in workers.text


def test_processes_that_cannot_stay_up_are_given_up(shop: Path) -> None:
    (shop / "shop.py").write_text("import os\nos._exit(7)\n")
    fast = "import perdure.cli.supervising as s; s.Policy.__init__.__defaults__ = (0.01, 0.02, 30.0, 3)"
    with screen(shop, "worker", "shop.py", "--processes", "2", before=fast) as workers:
        workers.until(r"died: process 1 \(exit code 7\); it is started again in 10 ms")
        workers.until(r"died: process 1 \(exit code 7\); it is started again in 20 ms")
        workers.until(r"giving up: no process stays up, after 3 deaths in a row")
        assert workers.exit_code() == 1
