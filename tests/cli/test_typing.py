"""What people type: data, names of events and functions, durations. On a log that is still empty."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from perdure.cli.root import app as commands


@pytest.fixture(autouse=True)
def _own_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERDURE_LOG", f"sqlite:///{tmp_path}/log/log.db")


def perdure(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(commands, list(arguments), input=text)


# --- events -----------------------------------------------------------------------------------------------------------


def test_data_from_stdin_that_is_not_json_is_shown() -> None:
    refused = perdure("events", "send", "shop/x", "-", text="{order: 7}")
    assert refused.exit_code == 2
    assert re.search(r"the event's data from stdin is not JSON \(.*\): \{order: 7\}$", refused.stderr.strip())


LISTENERS = """
from perdure.app import App
from perdure.authoring.events import Event
from perdure.execution.context import Context

app = App("shop")
SENT = "order/sent"


class Back(Event, name="order/back"): ...


@app.function(on=["user/created", "mail/*"])
async def greet(ctx: Context) -> None:
    await ctx.step.wait_for_event("paid", "order/paid")
    await ctx.step.wait_for_event("sent", SENT)
    await ctx.step.wait_for_event("back", Back)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("user/craeted", "no function of heard.py:app listens to user/craeted; did you mean user/created?"),
        ("order/piad", "no function of heard.py:app listens to order/piad; did you mean order/paid?"),
        ("a b", "no function of heard.py:app listens to a b"),
        *((name, "") for name in ("user/created", "mail/in/x", "order/paid", "order/sent", "order/back")),
    ],
)
def test_an_event_that_no_function_listens_to_is_sent_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (tmp_path / "heard.py").write_text(LISTENERS)
    monkeypatch.chdir(tmp_path)
    sent = perdure("events", "send", "heard.py:app", name)
    assert (sent.exit_code, sent.stdout.startswith(f"sent {name} as")) == (0, True)
    assert sent.stderr == (f"perdure: {said}\n" if said else "")


# --- durations --------------------------------------------------------------------------------------------------------


def test_durations_are_seconds_too_and_faults_name_the_flag() -> None:
    event = json.loads(perdure("events", "send", "shop/later", "--ts", "+3600", "--json").stdout)
    assert (
        event["ts"]
        > json.loads(perdure("events", "list", "--name", "shop/later", "--json").stdout)[0]["sent"]
    )
    assert perdure("runs", "list", "--since", "3600").exit_code == 0
    assert perdure("events", "list", "--since", "1.5").exit_code == 0
    for words in (["runs", "list", "--since", "5x"], ["worker", "nothing.py", "--drain", "5x"]):
        refused = perdure(*words)
        assert refused.exit_code == 2
        assert f"perdure: {words[-2]} 5x: that is no duration; write a number of seconds" in refused.stderr
        assert "timedelta" not in refused.stderr
    assert "a duration counts forward" in perdure("runs", "list", "--since", "-5").stderr


# --- starting ---------------------------------------------------------------------------------------------------------


def test_a_function_is_started_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "started.py").write_text(
        "from perdure.app import App\nfrom perdure.authoring.events import Event\n"
        "from perdure.execution.context import Context\n\napp = App('shop')\n\n\n"
        "class Paid(Event, name='shop/paid', key='data.order'):\n    order: str\n    amount: int\n\n\n"
        "@app.function(on=Paid)\nasync def note(ctx: Context[Paid]) -> None:\n    return None\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ("runs", "start", "started.py:app", "note", '{"order": "7", "amount": 5}')
    shown = perdure(*words)
    assert re.match(r"started run (1p\S+) of note in .*; perdure runs show \d-\w{6}\n", shown.stdout), shown
    named = json.loads(perdure(*words, "--id", "seven", "--json").stdout)
    assert named == {"id": "note/seven", "function": "note"}
    assert [run["status"] for run in json.loads(perdure("runs", "list", "--json").stdout)] == [
        "queued",
        "queued",
    ]
    wrong = perdure("runs", "start", "started.py", "note", '{"order": "7"}')
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "perdure: the data of function 'note' does not fit Paid: amount: Field required\n",
    )
    assert 'did you mean "note"?' in perdure("runs", "start", "started.py", "not").stderr
