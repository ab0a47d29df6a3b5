"""The desk of a `def` body, which is run again from the top over what is recorded, as far as that goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from perdure.authoring.steps import StepOptions
from perdure.core.ops import CANCEL_ASKED, STEP_DONE, Op
from perdure.errors import NonDeterminismError, UsageError
from perdure.execution.asks import read_step
from perdure.execution.conditions import Evicted
from perdure.execution.current import in_step
from perdure.execution.desk import Desk, nested_step
from perdure.execution.pending import Pending, PendingStep
from perdure.execution.tasks import Scope

__all__ = ["SyncDesk", "sync_map"]

_REFUSALS_MAX = 50


class SyncDesk(Desk):
    """Answers the asks of one pass over the body from what is recorded; the first that has no answer ends the pass."""

    _thread: int | None = None
    _scope = Scope("")
    _unwinding = False
    _refusals = 0
    _silent_until: str | None = None
    fault: NonDeterminismError | None = None
    cancel: Op | None = None
    """A cancel that the body has not met yet; it meets it where it would wait."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.outcomes: dict[str, Op] = {}
        self.sent: set[str] = set()
        self.used: set[str] = set()

    # --- a pass ----------------------------------------------------------------------------------------------

    def begin_pass(self, released: str | None) -> None:
        """The body starts from the top, in the calling thread.

        What it says before it gets to `released`, the key with the newest outcome, it has said before.
        """
        self._thread = threading.get_ident()
        self._scope = Scope("")
        self._unwinding = False
        self._refusals = 0
        self._silent_until = released
        self.used = set()
        self.restart = None
        self.answered = set()
        self.now_us = self.start.created

    def end_pass(self) -> bool:
        """Whether the pass ended because the body has to wait. Raises what made it end against its record."""
        self._thread = None
        if self.fault is not None:
            raise self.fault
        return self._unwinding

    def answer(self, pending: Pending) -> Op:
        """The recorded outcome; else unwinds the body, or cancels it here."""
        key = pending.key
        op = self.outcomes.get(key)
        if op is None:
            if self.cancel is None:
                self.unwind()
            op = self.outcomes[key] = self.cancel
            self.cancel = None
            if key in self.pending:
                self.drop(self.pending[key])
        name, fields = op
        self.used.add(key)
        if key == self._silent_until:
            self._silent_until = None
        if fields["time"] > self.now_us:
            self.now_us = fields["time"]
        if name == CANCEL_ASKED:
            raise asyncio.CancelledError(fields["reason"])
        if name not in pending.RELEASES:
            # Not raised here: the body might catch it.
            self.fault = NonDeterminismError(
                f"the record has {name} for {key!r}, but the code now has a {pending.WORD} there"
            )
            self.unwind()
        return op

    def unwind(self) -> NoReturn:
        """Ends the pass: there is something to wait for."""
        self._unwinding = True
        raise Evicted

    # --- the desk --------------------------------------------------------------------------------------------

    @property
    def evicting(self) -> bool:
        return self.dead or self._unwinding

    def here(self) -> Scope:
        if threading.get_ident() != self._thread:
            if in_step():
                raise nested_step()
            raise UsageError(
                "ctx can be used only in the thread that runs the body; for work side by side use ctx.step.map, or an "
                "async def body with asyncio.gather"
            )
        if self.dead or self._unwinding:
            self._refuse()
        return self._scope

    def _refuse(self) -> NoReturn:
        self._refusals += 1
        if self._refusals > _REFUSALS_MAX:
            # A thread cannot be ended from outside. One that swallows this for ever is parked, and the run with it.
            threading.Event().wait()
        raise Evicted

    def future(self) -> None:
        return None

    def open(self, pending: Pending) -> None:
        key = pending.key
        if key not in self.outcomes and key not in self.pending and self.cancel is None:
            super().open(pending)

    def send(self, op: Op) -> None:
        key = op[1]["key"]
        if key not in self.sent:
            super().send(op)
            self.sent.add(key)

    def say(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        if self._silent_until is None and not self._unwinding:
            super().say(level, message, fields)

    def publish(self, name: str, value: bytes) -> None:
        if self._silent_until is None and not self._unwinding:
            super().publish(name, value)


def sync_map(
    desk: SyncDesk,
    step_id: str,
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    limit: int | None,
    options: StepOptions,
) -> list[Any]:
    """See `SyncStepRunner.map`."""
    scope = desk.here()
    if limit is not None and (not isinstance(limit, int) or limit < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"map {step_id!r}: limit={limit!r}; use a whole number, at least 1")
    work = list(items)
    keys = [desk.next_key(scope, step_id) for _ in work]
    among = set(keys)
    desk.used.update(among & desk.outcomes.keys())
    failed = next((key for key, op in desk.outcomes.items() if key in among and op[0] != STEP_DONE), None)
    if failed is not None:
        _abandon(desk, keys)
        pending = desk.ask(failed, fn, (work[keys.index(failed)],), {}, options)
        return [read_step(pending, desk.answer(pending))]  # raises
    room = (limit or len(work)) - sum(key in desk.pending for key in keys)
    asked: list[PendingStep] = []
    waiting: PendingStep | None = None
    for key, item in zip(keys, work, strict=True):
        new = key not in desk.outcomes and key not in desk.pending
        if new and room <= 0:
            continue
        room -= new
        pending = desk.ask(key, fn, (item,), {}, options)
        asked.append(pending)
        if waiting is None and key not in desk.outcomes:
            waiting = pending
    if waiting is not None:
        try:
            desk.answer(waiting)
        except asyncio.CancelledError:
            _abandon(desk, keys)
            raise
    return [read_step(pending, desk.answer(pending)) for pending in asked]


def _abandon(desk: SyncDesk, keys: Iterable[str]) -> None:
    for key in keys:
        if key in desk.pending:
            desk.drop(desk.pending[key])
