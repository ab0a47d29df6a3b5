"""Pauses, resumes, cancels and held ends in the fold: what was asked for last is what holds."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import effects, snapshot
from perdure.core.invariants import check
from perdure.core.ops import Op
from perdure.core.state import Run
from tests.core.journal import Journal, asked, done, event, run_done, same, started

LATER = 3_600_000_000


def begun(*keys: str) -> Journal:
    j = Journal()
    j.claim()
    j.start("r")
    if keys:
        assert j.commit("r", started(), asked(*keys)) is None
    return j


def of(j: Journal) -> Run:
    return j.state.runs["r"]


def steer(j: Journal, *names: str) -> None:
    """Commands to the run, each under an id of its own."""
    for name in names:
        body: dict[str, Any] = {"reason": ""} | ({"force": False} if name == "Cancel" else {})
        j.command("r", f"{name}Ask", body, id=f"c{j.last}")


def resumed(j: Journal) -> Op:
    (item,) = [item for item in of(j).inbox if item.name == "perdure.ResumeAsk"]
    return "perdure.ResumedByUser", {"time": 2, "command": item.command, "code": "1"}


def test_a_pause_before_the_start_is_committed_holds() -> None:
    j = begun()
    steer(j, "Pause")
    j.commit("r", started(), asked("/a"))
    assert of(j).status == "paused"


def test_a_resume_that_a_later_pause_overtook_does_not_count() -> None:
    j = begun("/a")
    steer(j, "Pause", "Resume")
    late = resumed(j)  # the owner has begun to write it
    steer(j, "Pause")
    assert of(j).inbox == []
    j.commit("r", late)
    assert of(j).status == "paused"
    steer(j, "Resume")
    j.commit("r", resumed(j))
    assert (of(j).status, of(j).inbox) == ("running", [])


def test_a_resume_of_a_run_that_goes_on_leaves_nothing_behind() -> None:
    j = begun("/a")
    steer(j, "Resume", "Resume")
    assert of(j).inbox == []


def test_of_several_resumes_one_is_left() -> None:
    j = begun("/a")
    steer(j, "Pause", "Resume", "Resume")
    assert j.effects == [effects.Activate("r")]
    j.commit("r", resumed(j))
    assert (of(j).status, of(j).inbox) == ("running", [])


def test_a_parked_run_that_is_resumed_and_paused_stays_parked() -> None:
    j = begun("/a")
    j.commit("r", ("perdure.Parked", {"time": 2, "reason": "stuck", "code": "1", "detail": ""}))
    steer(j, "Resume", "Pause")
    assert (of(j).status, of(j).inbox) == ("parked", [])


def test_a_run_that_had_not_begun_goes_back_to_its_queue() -> None:
    j = begun()
    steer(j, "Pause", "Resume")
    assert (of(j).status, of(j).inbox, j.effects) == ("queued", [], [effects.Activate("r")])


def test_a_scheduled_run_keeps_its_time() -> None:
    j = Journal()
    j.claim()
    start = {"function": "f", "event": event(ts=LATER), "tags": {}}
    j.append("Command", {"id": "c1", "run": "r", "client": None, "body": ("perdure.StartRun", start)})
    assert of(j).status == "scheduled"
    steer(j, "Pause", "Resume")
    assert (of(j).status, of(j).not_before) == ("scheduled", LATER)
    assert j.effects == [effects.Arm("r", "", LATER), effects.Activate("r")]


def test_cancels_that_were_given_are_counted() -> None:
    j = begun("/a")
    steer(j, "Cancel")
    (item,) = of(j).inbox
    given = {"time": 2, "command": item.command, "reason": "", "force": False}
    j.commit("r", ("perdure.CancelAsked", given))
    assert (of(j).cancels, of(j).inbox) == (1, [])


HELD: dict[str, Op] = {
    "completed": run_done(time=3),
    "failed": (
        "perdure.RunFailed",
        {"time": 3, "error": {"type": "E", "message": "", "traceback": "", "data": ""}, "handler": None},
    ),
    "cancelled": ("perdure.RunCancelled", {"time": 3, "reason": "enough"}),
    "parked": ("perdure.Parked", {"time": 3, "reason": "bug", "code": "1", "detail": ""}),
}


@pytest.mark.parametrize("status", HELD)
def test_B2_a_held_end_is_state_until_it_is_booked(status: str) -> None:
    end = HELD[status]
    j = begun("/a", "/slow")
    held: Op = "perdure.EndHeld", {"end": end}
    j.commit("r", done("/a"), ("perdure.StepAbandoned", {"key": "/slow"}), held)
    assert (of(j).status, of(j).pending, of(j).held) == ("running", {}, end)
    assert check(j.state) == []
    restored, _ = snapshot.restore(snapshot.take(j.state, j.last + 1))
    assert restored.runs["r"].held == end
    assert same(j.state, j.refolded())
    j.commit("r", end)
    assert (of(j).status, of(j).held) == (status, None)
    assert check(j.state) == []


def test_two_items_of_one_record_are_two() -> None:
    j = begun("/a")
    keys = ("/s", "/t")
    start = {"function": "f", "event": event(), "due": None, "detached": False, "parent_close": "abandon"}
    j.commit("r", *(("perdure.ChildIssued", start | {"key": key, "run": f"child{key}"}) for key in keys))
    ended = [
        {"entity": f"child{key}", "prev": j.state.runs[f"child{key}"].prev, "ops": [started(), run_done()]}
        for key in keys
    ]
    j.append("Commit", {"changes": ended, "acks": []}, j.stamp())
    one, other = of(j).inbox
    assert (one.offset == other.offset, one == other, len({one, other})) == (True, False, 2)
