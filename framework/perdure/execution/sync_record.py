"""What the record of a `def` body's run amounts to."""

from __future__ import annotations

from perdure.core import ops
from perdure.core.ops import Op
from perdure.execution.replay import Unit, units_of
from perdure.execution.sync_desk import SyncDesk

__all__ = ["SyncRecord"]

_OPENS = frozenset({ops.ASKED, ops.TIMER_SET, ops.WAIT_OPENED, ops.CHILD_ISSUED})
_SENDS = frozenset({ops.EVENTS_SENT, ops.SIGNAL_SENT, ops.SIGNAL_ANSWERED})
_DROPS = frozenset({ops.STEP_ABANDONED, ops.TIMER_DROPPED, ops.WAIT_CLOSED, ops.CHILD_DROPPED})


class SyncRecord:
    """Folds the ops of a run: the outcomes go to its desk, the rest is what the body must come to wait for again."""

    def __init__(self, desk: SyncDesk) -> None:
        self._desk = desk
        self._open: dict[str, Unit] = {}
        self.last_key: str | None = None
        """Where the newest outcome is."""
        self.ended: str | None = None
        """The op with which the run ended."""
        self.time = 0

    @property
    def waiting(self) -> list[Unit]:
        """What the run waits for."""
        return list(self._open.values())

    def add(self, op: Op) -> None:
        """Takes the next op."""
        name, fields = op
        if name in ops.RELEASES:
            self.time = max(self.time, fields["time"])
            key = fields.get("key")
            if key is not None:
                self._open.pop(key, None)
                self._desk.outcomes[key] = op
                self.last_key = key
        elif name in _SENDS or (name == ops.CHILD_ISSUED and fields["detached"]):
            self._desk.sent.add(fields["key"])
        elif name in _OPENS:
            self._open.update((unit.key, unit) for unit in units_of([op]))
        elif name in _DROPS:
            self._open.pop(fields["key"], None)
        elif name == ops.END_HELD:
            self.add(fields["end"])
        elif name in ops.ENDS:
            self.ended = name
