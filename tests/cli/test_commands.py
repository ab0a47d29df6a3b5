"""The commands on a log that is there, without a worker."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from perdure.app import App
from perdure.authoring.events import Event
from perdure.cli import steering
from perdure.cli.root import app as commands
from perdure.execution.context import Context
from tests.cli.terminal import on_terminal

shop = App("shop")


class Ordered(Event, name="shop/ordered", key="data.order"):
    order: str


def charge(order: str) -> str:
    if order == "bad":
        raise ValueError("the card was refused\nby the bank")
    return f"paid {order}"


@shop.function(on=Ordered, retries=0)
async def sell(ctx: Context[Ordered]) -> str:
    ctx.set_value("stage", "charging")
    paid = await ctx.step.run("charge", charge, ctx.event.data.order)
    await ctx.step.run("charge", charge, "again")
    return paid


@shop.function(on="shop/waiting")
async def wait(ctx: Context[dict[str, Any]]) -> str:
    found = await ctx.step.wait_for_event("payment", "payment/received", match="data.order", timeout="2d")
    return str(found)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a log with a completed run, a failed one, and one that waits."""
    folder = tmp_path_factory.mktemp("log")
    url = f"sqlite:///{folder}/log.db"

    async def fill() -> None:
        filled = App("shop", log=url)
        for function in shop.functions:
            filled.functions.add(function)
        async with filled.worker():
            good = await filled.start(sell, Ordered(order="one"), tags={"tenant": "acme"})
            await good.result("10s")
            bad = await filled.start(sell, Ordered(order="bad"), id="bad")
            with pytest.raises(Exception, match="refused"):
                await bad.result("10s")
            waiting = await filled.start(wait, {"order": "one"})
            async with asyncio.timeout(10):
                while await waiting.status() != "running":
                    await asyncio.sleep(0.01)
        await filled.send("shop/unheard", {"text": "x" * 300}, id="later", ts=4_000_000_000)
        await filled.close()

    asyncio.run(fill())
    return folder


@pytest.fixture(autouse=True)
def _own_log(monkeypatch: pytest.MonkeyPatch, log: Path, tmp_path: Path) -> None:
    shutil.copytree(log, tmp_path / "log")
    monkeypatch.setattr(steering, "TAKEN_UP_S", 0.05)
    monkeypatch.setenv("PERDURE_LOG", f"sqlite:///{tmp_path}/log/log.db")


def perdure(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(commands, list(arguments), input=text)


def listed(*arguments: str) -> list[dict[str, Any]]:
    done = perdure("runs", "list", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def run_of(function: str, status: str) -> str:
    return next(run["id"] for run in listed("--status", status) if run["function"] == function)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first() -> None:
    assert [(run["function"], run["status"]) for run in listed()] == [
        ("wait", "running"),
        ("sell", "failed"),
        ("sell", "completed"),
    ]
    assert [run["function"] for run in listed("--status", "ended", "--limit", "1")] == ["sell"]
    assert len(listed("--function", "sell", "--since", "1h")) == 2
    assert listed("--status", "paused") == []


def test_the_fields_of_json_are_stable() -> None:
    (failed,) = listed("--status", "failed")
    assert list(failed) == [
        *("id", "function", "status", "event", "created", "scheduled", "started", "ended", "duration_s"),
        *("parent", "tags", "held", "reason", "error"),
    ]
    view = json.loads(perdure("runs", "show", failed["id"], "--json").stdout)
    assert list(view) == [
        *("id", "function", "status", "event", "created", "started", "ended", "duration_s", "restarts"),
        *("parent", "tags", "values", "held", "reason", "result", "error", "steps", "ops", "ops_total"),
    ]
    assert list(view["event"]) == ["name", "id", "key", "ts", "v", "data"]
    assert list(view["error"]) == ["type", "message", "traceback"]
    assert list(view["steps"][0]) == [
        *("id", "key", "kind", "status", "attempts", "began", "ended", "took_s", "due", "output", "error"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", view["created"])


def test_a_list_of_nothing_says_which_functions_have_runs() -> None:
    assert perdure("runs", "list", "--function", "nope").stdout == (
        "no run of nope: there are runs of sell and wait\n"
    )
    assert perdure("runs", "list", "--function", "sell", "--status", "paused").stdout == "no run fits\n"


def test_values_are_written_alike_in_lists_and_in_a_run() -> None:
    whole = run_of("sell", "completed")
    assert 'tags     {"tenant":"acme"}' in perdure("runs", "show", whole).stdout


@pytest.mark.parametrize("columns", [80, 60])
def test_on_a_narrow_terminal_only_the_last_column_is_cut(tmp_path: Path, columns: int) -> None:
    url = f"sqlite:///{tmp_path}/log/log.db"
    events = json.loads(perdure("events", "list", "--json").stdout)
    shown = on_terminal(tmp_path, columns, "events", "list", "--log", url)
    assert len(shown) == len(events) + 1
    for event, line in zip(events, shown[1:], strict=True):
        assert re.search(rf" {event['name']} +{re.escape(event['id'])} ", line), line
    assert any(line.rstrip().endswith("…") for line in shown)
    runs = on_terminal(tmp_path, columns, "runs", "list", "--log", url)
    assert len(runs) == 4
    for run, line in zip(listed(), runs[1:], strict=True):
        name = run["id"].removeprefix("1p")[:8]
        assert re.match(rf"{name} +{run['function']} +{run['status']} +\d\d:\d\d:\d\d ", line), line
        assert len(line) <= columns


def test_a_list_for_people_says_what_each_run_is_at() -> None:
    shown = perdure("runs", "list").stdout
    assert re.search(r"sell/bad +sell +failed .*ValueError: the card was refused by the bank", shown)
    assert re.search(r"\d-\w{6} +sell +completed .* → \"paid one\"", shown)
    assert re.search(r"\d-\w{6} +wait +running .* payment: waits for payment/received until \w+ \d", shown)


def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    whole = run_of("sell", "completed")
    assert re.match(r"1p\d+-", whole)
    for beginning in (whole, whole[:9], whole.removeprefix("1p")[:8]):
        assert f"sell  {whole}  completed" in perdure("runs", "show", beginning).stdout
    assert "sell/bad" in perdure("runs", "show", "bad").stdout
    assert "sell/bad" in perdure("runs", "show", "sell/b").stdout


def test_a_beginning_that_fits_several_runs_is_refused_and_none_is_said() -> None:
    many = perdure("runs", "show", "1")
    assert (many.exit_code, "begins the ids of 2 runs" in many.stderr) == (2, True), many.stderr
    none = perdure("runs", "show", "nothing")
    assert (none.exit_code, none.stderr.count("\n")) == (1, 1)
    assert "perdure runs list" in none.stderr


def test_a_run_for_people() -> None:
    shown = perdure("runs", "show", run_of("sell", "completed")).stdout
    assert re.search(r"^  tags +\{\"tenant\":\"acme\"\}$", shown, re.MULTILINE)
    assert re.search(r"^  stage +\"charging\"$", shown, re.MULTILINE)
    assert re.search(r"^charge +step +completed +1 +\S+ \S+ +\"paid one\"$", shown, re.MULTILINE)
    assert re.search(r"^charge:1 +step +completed +1 +\S+ \S+ +\"paid again\"$", shown, re.MULTILINE)
    assert re.search(r"^  result +\"paid one\"$", shown, re.MULTILINE)


def test_a_failure_shows_the_users_lines_only() -> None:
    shown = perdure("runs", "show", "bad").stdout
    assert re.search(r'test_commands.py", line \d+, in charge\n    raise ValueError', shown)
    assert "/perdure/execution/" not in shown


def test_a_run_as_it_was() -> None:
    whole = run_of("sell", "completed")
    total = json.loads(perdure("runs", "show", whole, "--json").stdout)["ops_total"]
    past = [
        json.loads(perdure("runs", "show", whole, "--at", str(n), "--json").stdout) for n in range(total + 1)
    ]
    assert [view["status"] for view in past] == ["queued", *["running"] * (total - 1), "completed"]
    assert [len(view["steps"]) for view in past] == sorted(len(view["steps"]) for view in past)
    present = json.loads(perdure("runs", "show", whole, "--json").stdout)
    differing = {name for name, value in present.items() if past[-1][name] != value}
    assert differing <= {"ended", "duration_s"}, "by the log's clock now, by the body's then"
    assert f"op 1 of {total}, Started" in perdure("runs", "show", whole, "--at", "1").stdout
    beyond = perdure("runs", "show", whole, "--at", str(total + 1))
    assert (beyond.exit_code, f"the run has {total} ops" in beyond.stderr) == (2, True)


def test_the_ops_of_a_run() -> None:
    whole = run_of("sell", "failed")
    ops = json.loads(perdure("runs", "show", whole, "--ops", "--json").stdout)
    assert [op["name"] for op in ops][-2:] == ["StepFailed", "RunFailed"]
    assert [op["op"] for op in ops] == list(range(1, len(ops) + 1))
    assert re.search(r"StepFailed +charge +\{\"attempt\":1", perdure("runs", "show", whole, "--ops").stdout)


# --- steering ---------------------------------------------------------------------------------------------------------


def test_pause_and_resume() -> None:
    whole = run_of("wait", "running")
    assert perdure("runs", "pause", whole, "--reason", "lunch").stdout == f"run {whole} is paused\n"
    assert "lunch" in perdure("runs", "list", "--status", "paused").stdout
    again = perdure("runs", "pause", whole)
    assert (again.exit_code, "it is paused already" in again.stderr) == (1, True)
    resumed = json.loads(perdure("runs", "resume", whole, "--json").stdout)
    assert resumed == {
        "id": whole,
        "status": "paused",
        "taken_up": False,
        "answered": False,
        "reason": None,
    }, "there is no worker"
    assert "no worker answers; one that starts acts on it" in perdure("runs", "resume", whole).stdout
    assert "every rule holds; 1 live run waits" in perdure("doctor").stdout


def test_what_has_ended_cannot_be_steered() -> None:
    for words in (("cancel", "bad"), ("pause", "bad"), ("resume", "bad"), ("signal", "bad", "approve")):
        refused = perdure("runs", *words)
        assert (refused.exit_code, "it is failed already" in refused.stderr) == (1, True), refused.stderr


def test_a_signal_is_sent_and_its_data_must_be_json() -> None:
    whole = next(run["id"] for run in listed("--function", "wait"))
    assert perdure("runs", "signal", whole, "approve", '{"by": "ann"}').stdout.endswith(
        f"to run {whole}: sent\n"
    )
    wrong = perdure("runs", "signal", whole, "approve", "{by: ann}")
    assert (wrong.exit_code, "is not JSON" in wrong.stderr) == (2, True)


# --- events -----------------------------------------------------------------------------------------------------------


def test_events_are_sent_and_listed() -> None:
    sent = perdure(
        "events",
        "send",
        "shop/told",
        "-",
        "--id",
        "a",
        "--key",
        "k",
        "--ts",
        "+1h",
        "--json",
        text='{"n": 1}',
    )
    event = json.loads(sent.stdout)
    assert (event["name"], event["id"], event["key"], event["data"]) == ("shop/told", "a", "k", {"n": 1})
    (found,) = json.loads(perdure("events", "list", "--name", "shop/tol*", "--since", "1m", "--json").stdout)
    assert found == {"sent": found["sent"], **event}
    assert found["sent"] < found["ts"]
    shown = perdure("events", "list", "--limit", "1").stdout
    assert re.search(r"shop/told +a +k +\(for .*\) \{\"n\":1\}$", shown, re.MULTILINE)


def test_an_app_gives_its_events_their_key_and_checks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typed_shop.py").write_text(
        "from perdure.app import App\nfrom perdure.authoring.events import Event\n"
        "from perdure.execution.context import Context\n\napp = App('shop')\n\n\n"
        "class Paid(Event, name='shop/paid', key='data.order'):\n    order: str\n    amount: int\n\n\n"
        "@app.function(on=Paid)\nasync def note(ctx: Context[Paid]) -> None:\n    return None\n"
    )
    monkeypatch.chdir(tmp_path)
    sent = perdure("events", "send", "typed_shop.py", "shop/paid", '{"order": "7", "amount": 5}', "--json")
    assert json.loads(sent.stdout)["key"] == "7", sent.output
    wrong = perdure("events", "send", "typed_shop.py:app", "shop/paid", '{"order": "7"}')
    assert wrong.exit_code == 2
    assert (
        wrong.stderr == "perdure: the data of event 'shop/paid' does not fit Paid: amount: Field required\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a b", "{", "c"], "in one pair of quotes"),
        (["shop/x", "{"], "is not JSON"),
        (["shop/x", "[1]"], 'must be a JSON object, such as {"value": ...}, not [1]'),
        (["perdure/x"], "choose another prefix"),
        (["shop/x", "--ts", "tomorrow"], "--ts tomorrow: that is no time; write +10m"),
        (["shop/x", "--ts", "5"], "--ts 5: that is no time; write +10m or +90 (seconds)"),
        (["shop/x", "--ts", "2031-05-01T12:00:00"], "it has no time zone; write"),
        (
            ["shop/x", "--ts", "+10 minutes"],
            "--ts +10 minutes: that is no duration; write a number of seconds",
        ),
        (["shop/x", "--log", "redis://x"], "is not the URL of a log"),
        (["shop/x", "--log", "memory:"], "inside one process"),
        (["nothing.py:app", "shop/x"], "there is no file nothing.py"),
    ],
)
def test_events_that_cannot_be_sent(words: list[str], said: str) -> None:
    refused = perdure("events", "send", *words)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.startswith("perdure: ")
    assert "Traceback" not in refused.output


# --- reading what is not there ----------------------------------------------------------------------------------------


def test_reading_makes_no_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none/log.db"
    for words in (["runs", "list"], ["events", "list"], ["runs", "show", "x"], ["doctor"]):
        missing = perdure(*words, "--log", url)
        assert (missing.exit_code, f"there is no log at {tmp_path}/none/log.db" in missing.stderr) == (
            1,
            True,
        )
    assert not (tmp_path / "none").exists()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some notes, and more than a hundred bytes of them " * 10)
    refused = perdure("runs", "list", "--log", f"sqlite:///{tmp_path}/notes.txt")
    assert (refused.exit_code, "is not a log of perdure" in refused.stderr) == (1, True)


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    shown = perdure("--debug", "runs", "list", "--log", f"sqlite:///{tmp_path}/none.db")
    assert shown.exit_code == 1
    assert "there is no log" in str(shown.exception)
