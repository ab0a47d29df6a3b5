"""Holds what a body does again against what the record says that it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from perdure.core import ops
from perdure.core.durations import from_us
from perdure.core.ops import Op
from perdure.errors import NonDeterminismError, Stuck
from perdure.execution.model import Turn
from perdure.execution.pending import Pending
from perdure.execution.stuck import where_waiting

if TYPE_CHECKING:
    from perdure.execution.desk import LoopDesk

__all__ = ["Late", "Replay", "Unit", "unexpected", "units_of"]

_SHOWN_MAX = 5

_WORDS = {
    ops.ASKED: "step",
    ops.TIMER_SET: "timer",
    ops.TIMER_DROPPED: "end of timer",
    ops.WAIT_OPENED: "wait",
    ops.WAIT_CLOSED: "end of wait",
    ops.STEP_ABANDONED: "abandoning step",
    ops.CHILD_ISSUED: "run of another function as",
    ops.CHILD_DROPPED: "end of waiting for",
    ops.EVENTS_SENT: "events sent by",
    ops.RUN_DONE: "end of the run, completed",
    ops.RUN_FAILED: "end of the run, failed",
    ops.RUN_CANCELLED: "end of the run, cancelled",
    ops.RUN_RESTARTED: "end of the run, to begin anew",
    ops.SIGNAL_SENT: "signal sent by",
    ops.SIGNAL_ANSWERED: "answer to the signal of",
    ops.WAIT_FILTERED: "condition of wait",
    ops.STEP_DONE: "the result of step",
    ops.STEP_FAILED: "the failure of step",
    ops.TIMER_FIRED: "the time of",
    ops.EVENT_GIVEN: "an event for",
    ops.SIGNAL_GIVEN: "a signal for",
    ops.CHILD_ENDED: "the end of child",
    ops.CANCEL_ASKED: "a cancel",
    ops.STARTED: "the start",
    ops.RESUMED_BY_USER: "a resume",
    ops.FORKED_FROM: "a fork",
}


_WAITED = frozenset({ops.ASKED, ops.TIMER_SET, ops.WAIT_OPENED, ops.CHILD_ISSUED})
"""What a task awaits once it has asked for it."""


class Unit(NamedTuple):
    """One consequence. The keys of an Asked count one by one."""

    kind: str
    key: str

    @property
    def step_id(self) -> str:
        """The id without the task's path and the index."""
        head, _, tail = self.key.partition("/")[2].rpartition(":")
        return head if head and tail.isdigit() else self.key.partition("/")[2]

    @property
    def path(self) -> str:
        """Of the task that did it."""
        return self.key.partition("/")[0]

    def __str__(self) -> str:
        word = _WORDS.get(self.kind, self.kind)
        if not self.key:
            return word
        shown = self.key.partition("/")[2]
        return f"{word} {shown!r}" + (f" in task {self.path}" if self.path else "")


class Late:
    """What the code of today asks for in turns of the past, without being in the record.

    A branch that a deploy added, or what follows a line at which the run had been parked. It belongs to the next turn.
    """

    def __init__(self) -> None:
        self.units: dict[Unit, Mapping[str, Any]] = {}
        self.error: BaseException | None = None
        self.ended = False

    def __bool__(self) -> bool:
        return bool(self.units)

    @property
    def keys(self) -> set[str]:
        """The keys of the steps among them."""
        return {unit.key for unit in self.units if unit.kind == ops.ASKED}

    def add(self, units: Mapping[Unit, Mapping[str, Any]], turn: Turn) -> None:
        """Adds what was done in a replayed turn without being in the record."""
        self.units.update(units)
        if units and turn.ended:
            self.ended, self.error = True, turn.error

    def take_into(self, turn: Turn, pending: Mapping[str, Pending]) -> None:
        """Puts it in front of what the turn did by itself."""
        asks: list[Any] = [
            pending[unit.key] for unit in self.units if unit.kind == ops.ASKED and unit.key in pending
        ]
        turn.steps[:0] = [one.ask for one in asks]
        keys = [one.key for one in asks]
        ended = bool(turn.ops) and turn.ops[-1][0] in ops.ENDS  # a `def` body may come to its end twice
        rest: list[Op] = [
            (unit.kind, dict(fields))
            for unit, fields in self.units.items()
            if unit.kind != ops.ASKED and not (ended and unit.kind in ops.ENDS)
        ]
        if turn.ops and turn.ops[0][0] == ops.ASKED:
            keys += turn.ops.pop(0)[1]["keys"]
        turn.ops[:0] = ([(ops.ASKED, {"keys": keys})] if keys else []) + rest
        self.units = {}


class Replay:
    """One replay, from the first turn on."""

    def __init__(self, execution: Any, desk: LoopDesk, late: Late) -> None:
        self._execution = execution
        self._desk = desk
        self._late = late
        self._turn: Turn | None = None
        self._opened_by: Op | None = None
        self._number = -1
        self._expected: list[Op] = []
        self._code = ""
        self._python = ""
        self._parked = False

    def run(self, history: Iterable[Op]) -> None:
        """Gives all releases to the body, and compares each turn."""
        for op in history:
            name, fields = op
            if name == ops.CANCEL_ASKED and fields["force"]:
                self._compare()
                self._end_by_force(op)
                return
            if name in ops.RELEASES:
                self._compare()
                self._give(op)
            else:
                self._expect(op)
        self._compare()

    def _expect(self, op: Op) -> None:
        name, fields = op
        if name == ops.END_HELD:
            self._expect(fields["end"])
        elif name == ops.PARKED:
            self._parked = True
        elif name in ops.ENDS and self._expected and self._expected[-1][0] in ops.ENDS:
            self._expected[-1] = op  # it had been held back, and is booked
        elif name in ops.CONSEQUENCES:
            self._expected.append(op)

    def _end_by_force(self, op: Op) -> None:
        """The owner has ended the run then, whatever its body waited for."""
        if self._turn is not None and not self._execution.ended:
            self._execution.release_recorded(op)
        self._execution.ended = True

    def _give(self, op: Op) -> None:
        name, fields = op
        self._number += 1
        self._opened_by = op
        if name == ops.STARTED:
            self._code, self._python = fields["code"], fields["python"]
        elif name == ops.RESUMED_BY_USER:
            self._code = fields["code"]
        try:
            if name == ops.STARTED:
                self._turn = turn = self._execution.begin()
                turn.ops.pop(0)
            else:
                self._turn = self._execution.release_recorded(op)
        except (NonDeterminismError, Stuck) as error:
            if note := self._other_python():
                raise type(error)(f"{error}.{note}") from error
            raise

    def _compare(self) -> None:
        turn, expected, parked = self._turn, self._expected, self._parked
        self._expected, self._parked = [], False
        if turn is None:
            if expected:
                raise NonDeterminismError("the record of this run does not begin with its start")
            return
        if turn.ops == expected:
            return
        recorded, done = units_of(expected), units_of(turn.ops)
        missing = {unit: fields for unit, fields in recorded.items() if unit not in done}
        surplus = {unit: fields for unit, fields in done.items() if unit not in recorded}
        changed = [u for u in recorded if u in done and not self._same(u.kind, recorded[u], done[u])]
        self._match_moved(missing, surplus)
        for unit in list(missing):
            if unit in self._late.units and self._same(unit.kind, missing[unit], self._late.units[unit]):
                del self._late.units[unit], missing[unit]
        if missing or changed or (surplus and not (parked or self._other_code)):
            raise self._diverged([*missing, *changed], [*surplus, *changed], recorded, done)
        self._late.add(surplus, turn)

    @property
    def _other_code(self) -> bool:
        return self._code != self._execution.code

    def _match_moved(
        self, missing: dict[Unit, Mapping[str, Any]], surplus: dict[Unit, Mapping[str, Any]]
    ) -> None:
        """Pairs what is recorded under one path and asked for under another: the same id, once on each side (A4).

        Not where the task has drawn random numbers: they follow its path, and are not those that it had (A9).
        """
        for unit in list(missing):
            there = [other for other in missing if (other.kind, other.step_id) == (unit.kind, unit.step_id)]
            here = [other for other in surplus if (other.kind, other.step_id) == (unit.kind, unit.step_id)]
            if len(there) != 1 or len(here) != 1 or here[0].path in self._desk.drawn:
                continue
            fields, moved = missing[unit], surplus[here[0]]
            if not self._same(unit.kind, fields, moved, moved=True):
                continue
            del missing[unit], surplus[here[0]]
            self._desk.rename(here[0].key, (unit.kind, {"key": unit.key, **fields}))

    def _same(
        self, kind: str, recorded: Mapping[str, Any], done: Mapping[str, Any], *, moved: bool = False
    ) -> bool:
        ignored = {"key", "handler"} if not moved else {"key", "handler", "run"}
        if self._other_code:
            ignored |= {"due", "condition"}  # what was set before a deploy stays as it was set
        if kind == ops.RUN_FAILED:
            # Tracebacks change with each edit of a file, messages may hold addresses.
            return recorded["error"]["type"] == done["error"]["type"]
        # The trace of what a body sends is the engine's doing, and not the same in every process.
        unsaid = ("trace", "id", "key") if moved else ("trace",)
        return all(
            _without(value, unsaid) == _without(done.get(name), unsaid)
            for name, value in recorded.items()
            if name not in ignored
        )

    def _diverged(
        self,
        recorded: Iterable[Unit],
        done: Iterable[Unit],
        all_recorded: Mapping[Unit, Mapping[str, Any]],
        all_done: Mapping[Unit, Mapping[str, Any]],
    ) -> NonDeterminismError:
        done = list(done)
        name, fields = self._opened_by or ("", {})
        after = Unit(name, fields.get("key", ""))
        there = f"{_listed(recorded, all_recorded)}, but the code now has {_listed(done, all_done)}"
        return NonDeterminismError(
            f"turn {self._number}, after {after}: the record has {there}{self._where(done)}.{self._other_python()} "
            "On replay, code must do as it did: put what differs (clocks, random numbers, settings, sets of strings) "
            "in a step, and keep the old path for runs that are under way"
        )

    def _where(self, done: Iterable[Unit]) -> str:
        """Where the code waits for what it has asked for."""
        tasks = {task.path: task for task in self._desk.loop.live_tasks()}
        asked = [unit.path for unit in done if unit.kind in _WAITED and unit.path in tasks]
        places = list(dict.fromkeys(where_waiting(tasks[path]) for path in asked))[:_SHOWN_MAX]
        return f" (at {'; '.join(places)})" if places else ""

    def _other_python(self) -> str:
        python = self._execution.python
        return (
            "" if self._python == python else f" It was recorded on Python {self._python}, this is {python}."
        )


def unexpected(op: Op, pending: Iterable[Pending], *, ended: bool) -> NonDeterminismError:
    """The error for a recorded input that the body does not wait for."""
    name, fields = op
    what = Unit(name, fields.get("key", ""))
    if ended:
        return NonDeterminismError(f"the record has {what}, but the code has already ended the run")
    waiting = [str(Unit({"step": ops.ASKED}.get(one.WORD, one.WORD), one.key)) for one in pending]
    shown = ", ".join(waiting[:_SHOWN_MAX]) + (", …" if len(waiting) > _SHOWN_MAX else "")
    return NonDeterminismError(f"the record has {what}, but the code waits for {shown or 'nothing'}")


def units_of(changes: Iterable[Op]) -> dict[Unit, Mapping[str, Any]]:
    found: dict[Unit, Mapping[str, Any]] = {}
    for kind, fields in changes:
        if kind == ops.ASKED:
            found.update((Unit(kind, key), {}) for key in fields["keys"])
        elif kind in ops.ENDS:
            found[Unit(kind, "")] = fields
        else:
            found[Unit(kind, fields["key"])] = fields
    return found


def _without(value: Any, names: tuple[str, ...]) -> Any:
    """An event, or a list of them, without what may differ: ids and keys may derive from the step's key."""
    if isinstance(value, list):
        return [_without(item, names) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {k: v for k, v in cast("dict[str, Any]", value).items() if k not in names}
    return value


def _listed(units: Iterable[Unit], fields: Mapping[Unit, Mapping[str, Any]]) -> str:
    shown = [f"{unit}{_detail(fields.get(unit, {}))}" for unit in units]
    more = f" and {len(shown) - _SHOWN_MAX} more" if len(shown) > _SHOWN_MAX else ""
    return (", ".join(shown[:_SHOWN_MAX]) + more) or "nothing more"


def _detail(fields: Mapping[str, Any]) -> str:
    if "due" in fields and fields["due"] is not None:
        return f" due at {from_us(fields['due']).isoformat()}"
    if "result" in fields:
        return f" with {fields['result'][:80]!r}"
    return ""
