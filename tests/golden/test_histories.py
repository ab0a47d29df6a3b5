"""What one minor version of Python recorded, replayed by another (A17): equal, or told as a difference of the two."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure.core import ops
from perdure.core.ops import Op
from perdure.errors import NonDeterminismError
from perdure.execution import Turn, loop
from perdure.execution.execution import PYTHON
from tests.execution.harness import Jitter, Ran, Record, execution, jittered, run_live
from tests.execution.programs import PROGRAMS
from tests.golden import histories, histories_write
from tests.golden.histories import CODE, History

WRITE = "write it: python -m tests.golden.histories_write, with each minor version"


@dataclass(frozen=True)
class Change:
    """What asyncio does otherwise since a minor version, and the runs that notice."""

    since: str
    program: str
    run_ids: frozenset[str]
    reason: str

    def parts(self, history: History, minor: str) -> bool:
        """Whether it lies between the minor that recorded this history and the one that replays it."""
        sides = {_order(minor) < _order(self.since), _order(history.python) < _order(self.since)}
        return len(sides) == 2 and history.program == self.program and history.run_id in self.run_ids


CHANGES = [
    Change(
        "3.12",
        "semaphore_with_wait_for",
        frozenset({"run-1", "run-2"}),
        "wait_for awaits in the task that calls it. Before, it made one, which came to the semaphore a round later, "
        "behind a task that asked after it",
    ),
    Change(
        "3.13",
        "task_group_aborts",
        frozenset({"run-3"}),
        "a cancel from outside is kept when the group already aborts by itself. Before, `except*` lost it",
    ),
]
"""All that is known to part the minors. Any other difference fails `test_a17_a_history_replays`."""


def _order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


HISTORIES = histories.load()
PARTED = [history for history in HISTORIES if any(change.parts(history, PYTHON) for change in CHANGES)]
REPLAYED = [history for history in HISTORIES if history not in PARTED]


# --- replays ----------------------------------------------------------------------------------------------------------


@contextmanager
def replayed(history: History, commits: Iterable[list[Op]]) -> Iterator[Any]:
    """An execution of this Python, with another layout of the heap, brought to where these commits end."""
    body = jittered(PROGRAMS[history.program], Jitter(len(history.commits)))
    made = execution(body, history.run_id, code=CODE)
    try:
        made.replay(commits)
        yield made
    finally:
        made.teardown()


@pytest.mark.parametrize("history", REPLAYED, ids=str)
def test_a17_a_history_replays(history: History) -> None:
    """Cut after any turn, as a worker leaves it that goes down for the new interpreter."""
    turns, record = list(history.turns()), Record()
    for number, turn in enumerate(turns, 1):
        release, done = (turn[0], turn[1:]) if number > 1 else (None, turn)
        record.add(release, Turn(done, [], [], {}))
        with replayed(history, turns[:number]) as made:
            assert not made.late
            assert made.ended == (record.ended is not None)
            assert made.ended or set(made.waiting_for()) == set(record.open)
    assert record.ended is not None, "a whole run says more than a part"


@pytest.mark.parametrize("history", PARTED, ids=str)
def test_a17_a_change_of_asyncio_is_told_with_both_minors(history: History) -> None:
    both = f"It was recorded on Python {re.escape(history.python)}, this is {re.escape(PYTHON)}."
    with pytest.raises(NonDeterminismError, match=both), replayed(history, history.commits):
        pass


# --- the replays can fail ---------------------------------------------------------------------------------------------


class _Overtaken(deque[Any]):
    """A ready queue that lets the second go first."""

    def popleft(self) -> Any:
        if len(self) < 2:
            return super().popleft()
        found = self[1]
        del self[1]
        return found


def _difference(history: History) -> str:
    """What replay says against a history; nothing when it has nothing to say."""
    try:
        with replayed(history, history.commits):
            return ""
    except NonDeterminismError as error:
        return str(error)


def test_a17_another_order_of_the_ready_queue_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(map(_difference, REPLAYED))
    monkeypatch.setattr(loop, "deque", _Overtaken)
    found = [(history, text) for history in REPLAYED if (text := _difference(history))]
    programs = {history.program for history, _ in found if history.python == PYTHON}
    # Others ask for the same in any order, and do not notice.
    assert {"anyio_streams", "condition_and_lock", "races", "semaphore", "workers_on_a_queue"} <= programs
    for history, text in found:
        named = f"recorded on Python {history.python}, this is {PYTHON}." in text
        assert named == (history.python != PYTHON), "the interpreter is blamed when it is another one"


def test_a17_each_change_of_asyncio_is_seen() -> None:
    """An entry whose runs are gone, or that no two minors lie apart of, would excuse nothing."""
    minors = sorted({history.python for history in HISTORIES}, key=_order)
    for change in CHANGES:
        before = minors[minors.index(change.since) - 1]
        parted = {history.run_id for history in HISTORIES if change.parts(history, before)}
        assert parted == change.run_ids


# --- the files --------------------------------------------------------------------------------------------------------


def test_a17_this_python_has_its_histories() -> None:
    there = {history.program for history in HISTORIES if history.python == PYTHON}
    assert PROGRAMS.keys() - there == set(), WRITE
    gone = {history.program for history in HISTORIES} - PROGRAMS.keys()
    assert not gone, "a program with histories stays: they are what old logs look like"


def test_a17_a_history_names_the_python_that_recorded_it() -> None:
    for history in HISTORIES:
        name, fields = history.commits[0][0]
        assert (name, fields["python"], fields["code"]) == (ops.STARTED, history.python, CODE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_recording_again_gives_the_same_text(program: str, tmp_path: Path) -> None:
    text = histories.recorded(program)
    assert text == histories.recorded(program)
    path = tmp_path / PYTHON / f"{program}.json"
    histories_write.save(path, text)
    for history, seed in zip(histories.read(path), histories.SEEDS, strict=True):
        live = run_live(PROGRAMS[program], seed).record.commits
        assert history.commits == [histories.settled(commit) for commit in live]


def test_an_op_within_an_op_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: Op = (
        ops.CHILD_ENDED,
        {"key": "/pay", "time": 1, "outcome": (ops.CHILD_DONE, {"result": b'"\xc3\xab"'})},
    )
    monkeypatch.setattr(histories, "run_live", lambda *_: Ran(Record([[ended]]), "ended"))
    path = tmp_path / "3.1" / "sequence.json"
    histories_write.save(path, histories.recorded("sequence"))
    assert [history.commits for history in histories.read(path)] == [[[ended]]] * len(histories.SEEDS)


def test_writing_histories_never_overwrites_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "FOLDER", tmp_path)
    kept = histories.place("races")
    histories_write.save(kept, "kept")
    assert len(histories_write.write_missing()) == len(PROGRAMS) - 1
    assert histories_write.write_missing() == []
    with pytest.raises(FileExistsError):
        histories_write.save(kept, "other")
    assert kept.read_text() == "kept"
