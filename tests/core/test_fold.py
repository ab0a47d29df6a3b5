"""The fold of a partition's journal: what counts, what is void, and what each record changes."""

from __future__ import annotations

import pytest

from perdure.core import codec, effects, ops
from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import CHANNEL, NEEDS, STAMP, Stamp, pack_channel
from perdure.core.fold import commands, journal, messages, runs
from perdure.errors import LevelTooNew
from tests.core.journal import OWNER, ZOMBIE, Journal, asked, done, event, run_done, same, started


def led(**limits: int) -> Journal:
    j = Journal(**limits)
    assert j.claim() is None
    return j


def running(*keys: str) -> Journal:
    j = led()
    j.start("r")
    assert j.commit("r", started(), asked(*keys)) is None
    return j


def test_every_record_kind_has_a_fold():
    journal_kinds = set(codec.RECORDS) - {"Event", "Reply", "DeadLetter", "Snapshot", "PackedState"}
    journal_kinds -= {"FunctionPaused", "LimitChanged"}  # they stand in the registry
    assert journal_kinds | {"undecodable"} == journal.FOLDED


def test_every_op_message_and_command_has_a_fold():
    def members(schema: str, *path: str) -> set[str]:
        found: set[str] = set()

        def walk(node: object) -> None:
            if isinstance(node, dict):
                if node.get("type") == "record" and node["name"] == f"perdure.{schema}":
                    for field in node["fields"]:
                        if field["name"] == path[-1]:
                            items = field["type"]
                            items = items["items"] if isinstance(items, dict) else items
                            found.update(i["name"] if isinstance(i, dict) else i for i in items)
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)

        root = {"Change": "Commit", "Message": "Message", "Command": "Command"}[schema]
        walk(codec.schema(root).parsed)
        return found

    assert members("Change", "ops") == runs.FOLDED_OPS
    assert ops.RELEASES | ops.CONSEQUENCES | ops.BOOKKEEPING == runs.FOLDED_OPS
    assert members("Message", "body") == messages.FOLDED_MESSAGES
    assert members("Command", "body") == commands.FOLDED_COMMANDS


def test_a_claim_counts_only_with_a_larger_epoch():
    j = led()
    assert j.claim(ZOMBIE, epoch=1) == "late claim"
    assert j.state.owner == OWNER
    assert j.claim(ZOMBIE, epoch=7) is None
    assert (j.state.epoch, j.state.owner) == (7, ZOMBIE)


def test_a_step_has_one_recorded_outcome():
    j = running("/a")
    assert j.commit("r", done("/a"), asked("/b")) is None
    assert set(j.state.runs["r"].pending) == {"/b"}
    assert j.commit("r", done("/a", b"2"), prev=2) == "commit on another state"
    assert set(j.state.runs["r"].pending) == {"/b"}


def test_a_former_owners_commit_is_void_and_counted():
    j = running("/a")
    zombie = j.stamp()
    j.claim(ZOMBIE)
    assert j.commit("r", done("/a"), headers=zombie) == "commit of a former owner"
    assert j.state.voids == {"commit of a former owner": 1}
    assert set(j.state.runs["r"].pending) == {"/a"}


def test_a_new_producer_under_the_same_epoch_does_not_count():
    j = running("/a")
    assert j.commit("r", done("/a"), headers=j.stamp(b"x" * 16)) == "commit of a former owner"


def test_A6_a_late_commit_does_not_count_on_a_state_it_was_not_decided_on():
    j = running("/a")
    prev = j.state.runs["r"].prev
    assert j.commit("r", done("/a"), asked("/a:1")) is None
    assert j.commit("r", done("/a"), prev=prev) == "commit on another state"


def test_a_commit_over_two_runs_counts_as_a_whole_or_not_at_all():
    j = led()
    j.start("r")
    j.start("s", command="c9")
    prev = [j.state.runs[r].prev for r in ("r", "s")]
    j.commit("s", started(), asked("/x"))
    changes = [
        {"entity": r, "prev": p, "ops": [started(), asked("/a")]}
        for r, p in zip(("r", "s"), prev, strict=True)
    ]
    assert j.append("Commit", {"changes": changes, "acks": []}, j.stamp()) == "commit on another state"
    assert j.state.runs["r"].pending == {}


def test_a_run_starts_once_however_often_it_is_asked_for():
    j = led()
    assert j.start("r") is None
    assert j.start("r", command="c2") == "run exists"
    assert len(j.state.runs) == 1


def test_a_command_counts_once():
    j = running("/a")
    cancel = {"reason": "", "force": False}
    assert j.command("r", "CancelAsk", cancel) is None
    assert j.command("r", "CancelAsk", cancel) == "command twice"
    assert len(j.state.runs["r"].inbox) == 1


def test_B12_an_inbox_is_bounded_and_says_so():
    j = Journal(inbox_max=2)
    j.claim()
    j.start("r")
    j.commit("r", started(), asked("/a"))
    voids = [j.command("r", "SignalSend", {"name": "s", "data": b"1"}, id=f"s{n}") for n in range(3)]
    assert voids == [None, None, "inbox full"]


def test_the_end_of_a_run_answers_who_waits():
    j = led()
    j.start("r", client="me")
    assert j.commit("r", started(), run_done(b"5")) is None
    assert effects.Ended("r") in j.effects
    assert j.state.runs["r"].watchers == {"me": "c1"}
    assert j.commit("r", done("/a"), prev=j.state.runs["r"].prev) == "commit on another state"


def test_a_query_waits_for_a_live_run_and_is_answered_at_once_for_another():
    j = running("/a")
    j.command("r", "Query", {"wait": True}, client="me", id="q1")
    assert j.effects == []
    j.command("r", "Query", {"wait": False}, client="me", id="q2")
    assert j.effects == [effects.Answer("me", "q2", "r")]
    j.command("unknown", "Query", {"wait": True}, client="me", id="q3")
    assert j.effects == [effects.Answer("me", "q3", "unknown")]


def test_A1_ingest_counts_only_from_its_position_and_under_the_config_in_force():
    j = led()
    j.config(("f", ["user/*"]))
    first = ingest.ingest(j.state, [Incoming(0, 5, event())])
    assert j.append("Ingest", first, j.stamp()) is None
    assert [run.function for run in j.state.runs.values()] == ["f"]
    assert j.append("Ingest", first, j.stamp()) == "ingest from another position"
    second = ingest.ingest(j.state, [Incoming(1, 6, event(id="e2"))])
    j.config(("f", ["user/*"]), ("g", ["user/created"]))
    assert j.append("Ingest", second, j.stamp()) == "ingest under another config"
    again = ingest.ingest(j.state, [Incoming(1, 6, event(id="e2"))])
    assert j.append("Ingest", again, j.stamp()) is None
    assert sorted(run.function for run in j.state.runs.values()) == ["f", "f", "g"]


def test_B8_an_event_id_is_deduplicated_for_24_hours_of_partition_time():
    j = led()
    j.config(("f", ["user/created"]))
    for offset, ts in ((0, 5), (1, 6)):
        j.append("Ingest", ingest.ingest(j.state, [Incoming(offset, ts, event())]), j.stamp())
    assert len(j.state.runs) == 1
    later = 25 * 3600 * 1_000_000
    body = ingest.ingest(j.state, [Incoming(2, later, event())])
    assert len(body["starts"]) == 1


def test_A1_messages_count_in_their_order_only():
    j = led()
    cancel = {"run": "r", "command": "x", "reason": "", "force": False}
    assert j.message("1p4", 2, "CancelRun", cancel) == "message out of its order"
    assert j.message("1p4", 1, "CancelRun", cancel) is None
    assert j.message("1p4", 1, "CancelRun", cancel) == "message out of its order"
    assert j.message("1p4", 2, "CancelRun", cancel) is None


def test_an_undecodable_message_advances_its_channel_and_is_buried():
    j = led()
    assert j.append_value(b"\xc3\x01garbage!", {CHANNEL: pack_channel("1p4", 1)}) == "undecodable"
    assert any(isinstance(effect, effects.Bury) for effect in j.effects)
    assert (
        j.message("1p4", 2, "CancelRun", {"run": "r", "command": "x", "reason": "", "force": False}) is None
    )


def test_a_record_level_above_ours_stops_the_reader():
    j = led()
    with pytest.raises(LevelTooNew, match="Upgrade this worker"):
        j.append("Level", {"level": 99}, j.stamp())


def test_a_level_above_ours_names_the_version_that_is_needed():
    j = led()
    with pytest.raises(LevelTooNew, match=r"Upgrade this worker to perdure 0\.9\.1 or newer"):
        j.append("Level", {"level": 99}, j.stamp() | {NEEDS: b"99 0.9.1"})


@pytest.mark.parametrize("headers", ["claim", "message", "command", "former owner"])
def test_a_record_of_a_newer_version_stops_the_reader_whoever_wrote_it(headers: str):
    """Newer readers take it; one that passed over it would come to another state."""
    j = led()
    written = {
        "claim": {STAMP: Stamp(b"newer version's.", 9, 0).pack()},
        "message": {CHANNEL: pack_channel("1p4", 1)},
        "command": {},
        "former owner": j.stamp(b"z" * 16, 0),
    }[headers]
    with pytest.raises(LevelTooNew, match=r"level 2 at offset \d+, .* to perdure 0\.9\.1 or newer"):
        j.append_value(b"\xc3\x01newer...body", written | {NEEDS: b"2 0.9.1"})
    for known in (b"1 0.1.0", b"x", b"", b"9" * 99):
        assert j.append_value(b"\xc3\x01garbage!", {NEEDS: known}) == "undecodable", "no newer level"


def test_a_record_that_does_not_belong_into_a_journal_is_void():
    j = led()
    assert j.append("Event", dict(event())) == "misplaced"


def test_a_failed_run_starts_its_handler_once():
    j = running("/a")
    error = {"type": "ValueError", "message": "no", "traceback": "", "data": ""}
    j.commit("r", ("perdure.RunFailed", {"time": 2, "error": error, "handler": "f:on-failure"}))
    handlers = [run for run in j.state.runs.values() if run.function == "f:on-failure"]
    assert len(handlers) == 1
    assert b'"type":"ValueError"' in handlers[0].event["data"]
    assert effects.Activate(handlers[0].id) in j.effects


def test_a_childs_outcome_reaches_its_parent():
    j = running()
    child = {"key": "/pay", "run": "child", "function": "pay", "event": event(id="x"), "due": None}
    j.commit("r", ("perdure.ChildIssued", child | {"detached": False, "parent_close": "cancel"}))
    assert j.state.runs["child"].parent == "r"
    j.commit("child", started(), run_done(b"7"))
    (item,) = j.state.runs["r"].inbox
    assert item.body["outcome"] == ("perdure.ChildDone", {"result": b"7"})
    ended = {"key": "/pay", "time": 9, "outcome": item.body["outcome"]}
    j.commit("r", ("perdure.ChildEnded", ended), run_done())
    assert not j.state.runs["r"].live


def test_the_end_of_a_parent_cancels_its_children():
    j = running()
    child = {"key": "/pay", "run": "child", "function": "pay", "event": event(id="x"), "due": None}
    j.commit("r", ("perdure.ChildIssued", child | {"detached": False, "parent_close": "cancel"}))
    j.commit("r", run_done())
    assert [item.name for item in j.state.runs["child"].inbox] == ["perdure.CancelAsk"]


def test_two_readers_reach_the_same_state():
    j = running("/a", "/b")
    j.command("r", "SignalSend", {"name": "s", "data": b"1"})
    j.commit("r", done("/a"))
    assert same(j.state, j.refolded())
