"""Several whole workers, one log, one seed: every promise is checked after every record.

A failing seed is printed; `SIMULATION_SEEDS=17 pytest tests/simulation` runs that one, `=0:5000` a range.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from perdure.core import codec, ops
from perdure.core.fold import journal
from perdure.core.state import Item, PartitionState, Run
from perdure.engine import outbox
from perdure.engine.commits import Commits
from perdure.engine.outbox import Outbox
from tests.simulation import programs
from tests.simulation.audit import Broken
from tests.simulation.world import simulate

CHUNKS = 10
SEEDS = 500
PLANTED_SEEDS = 40


def chosen_chunks(seeds: int, chunks: int) -> list[range]:
    """These seeds in pieces, or those that the environment names."""
    chosen = os.environ.get("SIMULATION_SEEDS")
    if chosen is not None:
        first, _, last = chosen.partition(":")
        return [range(int(first), int(last) if last else int(first) + 1)]
    size = seeds // chunks
    return [range(n * size, (n + 1) * size) for n in range(chunks)]


@pytest.mark.parametrize("seeds", chosen_chunks(SEEDS, CHUNKS), ids=str)
def test_promises_hold_whatever_happens(seeds: range) -> None:
    records = 0
    for seed in seeds:
        world = asyncio.run(simulate(seed))
        records += world.audit.records
    assert records > 10 * len(seeds), "the simulated lives are too quiet to mean anything"


def broken(seeds: int = PLANTED_SEEDS, words: str = "") -> str:
    """What the first broken seed says that says these words; else the last one."""
    said = ""
    for seed in range(seeds):
        try:
            asyncio.run(simulate(seed))
        except Broken as error:
            said = str(error)
            if words in said:
                break
    return said


def test_a_fold_that_accepts_void_commits_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def unguarded(state: PartitionState, fact) -> None:
        for change, part in zip(fact.body["changes"], codec.parts_of(fact.body), strict=True):
            run = state.run(change["entity"])
            if run is not None and run.live:
                journal.runs.change(state, fact, run, change["ops"], part)

    monkeypatch.setitem(journal._RECORDS, "Commit", unguarded)
    assert "has two outcomes" in broken(words="has two outcomes")


def test_a_body_that_gets_two_outcomes_in_one_turn_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Commits._cut

    def mixed_up(self: Commits, resident) -> tuple:
        """Two outcomes given at once have no order of their own: the record has the other one."""
        steps, size, count = cut(self, resident)
        outcomes = [step for step in steps if step.ops and step.ops[0][0] == "perdure.StepDone"]
        if len(outcomes) > 1:
            first, last = outcomes[0], outcomes[-1]
            first.ops[0], last.ops[0] = last.ops[0], first.ops[0]
        return steps, size, count

    monkeypatch.setattr(Commits, "_cut", mixed_up)
    monkeypatch.setattr(programs, "TRIGGERS", ("orderly",))
    assert "non-determinism" in broken(200, "non-determinism")


def test_an_owner_that_forgets_its_outbox_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "resend", lambda _self: None)
    assert "never ended" in broken(200)


def test_a_fold_that_takes_messages_in_any_order_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_order(state: PartitionState, fact) -> str | None:
        origin, seq = fact.body["origin"], fact.body["seq"]
        if seq <= state.inbound.get(origin, 0):
            return "older"
        state.inbound[origin] = seq
        name, body = fact.body["body"]
        journal.messages.take(state, fact, name, body)
        return None

    monkeypatch.setitem(journal._RECORDS, "Message", any_order)
    monkeypatch.setattr(outbox, "TOGETHER_MAX", 1)  # those that share an entry do come in order
    assert broken(300)


def test_items_of_an_inbox_that_are_told_apart_by_their_entry_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Children that end in one commit, and events that are ingested together, come by one entry."""
    monkeypatch.setattr(Item, "__eq__", lambda one, other: one.offset == other.offset)
    monkeypatch.setattr(Item, "__hash__", lambda item: hash(item.offset))
    monkeypatch.setattr(programs, "TRIGGERS", ("twins",))
    assert "never ended" in broken(200)


def test_a_held_end_that_the_log_does_not_know_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(journal.runs._OPS, ops.END_HELD, journal.runs._nothing)
    assert "waits for nothing" in broken(200)


def test_a_start_that_undoes_a_pause_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(_state: PartitionState, _fact, run: Run, body) -> None:
        run.status, run.started = "running", body["time"]

    monkeypatch.setitem(journal.runs._OPS, ops.STARTED, started)
    assert "a pause was asked for last" in broken(300)


def test_a_resume_that_undoes_a_later_pause_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def resumed(_state: PartitionState, _fact, run: Run, body) -> None:
        run.inbox = [item for item in run.inbox if item.command != body["command"]]
        run.status, run.reason = "running", ""

    monkeypatch.setitem(journal.runs._OPS, ops.RESUMED_BY_USER, resumed)
    assert "a pause was asked for last" in broken(300)
