"""One claim's life: what its parts share, and the way to the journal and back.

A partition that is revoked and assigned again, or claimed anew, gets a new life, so nothing of an earlier one can act.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perdure.core import codec
from perdure.core.facts import KIND, STAMP, Fact, Stamp
from perdure.core.state import PartitionState
from perdure.engine.outbox import Outbox
from perdure.engine.replies import Replies
from perdure.engine.services import Services
from perdure.engine.spill import Spill
from perdure.engine.timers import Timers, dues_of
from perdure.errors import EntryTooLarge, LogError
from perdure.logs.contract import Entry, LogFull, Producer, Topic

RETRY_APPEND_US = 50_000
OnRead = Callable[[Fact, "str | None"], None]


@dataclass(slots=True)
class Unread:
    """An own record that has not been read back."""

    packed: bytes
    stamp: Stamp
    name: str
    body: dict[str, Any]
    on_read: OnRead
    parts: list[bytes] | None


class Life:
    """The producer of one claim, its partition's state, and what is armed and sent under it."""

    def __init__(
        self,
        services: Services,
        state: PartitionState,
        producer: Producer,
        owner: bytes,
        fail: Callable[[LogError], None],
        fire: Callable[[str, str, int], None],
        since: int,
        spill: Spill,
    ) -> None:
        self.services = services
        self.state = state
        self.live = True
        self.resting = False
        """It leaves: it still reads back what it appended, and does nothing new."""
        self.since = since
        """Offset of the claim: what lies before it was done by others."""
        self.spill = spill
        self._producer = producer
        self._owner = owner
        self._epoch = state.epoch
        self._seq = 0
        self._unread: deque[Unread] = deque()
        self._fail = fail
        self.outbox = Outbox(services, state, producer, self.failed)
        self.replies = Replies(services, state, producer, self.failed)
        self.timers = Timers(
            services.clock,
            fire,
            services.limits.timers_tick_max,
            lambda: dues_of(state),
            services.trouble,
            state.runs,
        )

    @property
    def acting(self) -> bool:
        """Whether anything new may be done under this claim."""
        return self.live and not self.resting

    def end(self) -> None:
        """Nothing of this life acts any more."""
        self.live = False
        self.outbox.closed = True
        self.timers.close()
        self._producer.close()

    def failed(self, error: LogError) -> None:
        """A delivery failed, its outcome is unknown: this producer and this claim are over (A6)."""
        if self.live:
            self._fail(error)

    def append(self, name: str, body: dict[str, Any], on_read: OnRead, *, key: str = "") -> bool:
        """Appends a record of the owner; `on_read` is called when it is read back, with why it is void, if it is.

        False when it does not fit an entry. Nothing was sent then, and this claim goes on (A7).
        """
        value = codec.encode(name, body)

        def again() -> None:
            self.append(name, body, on_read, key=key)

        try:
            self.append_value(name, body, value, on_read, key=key)
        except EntryTooLarge as error:
            self.services.trouble(f"a record ({name}) of partition {self.state.number} cannot be", error)
            return False
        except LogFull:  # nothing was sent: later, unless the claim is over then
            clock = self.services.clock
            clock.call_at(clock.now() + RETRY_APPEND_US, again)
        except LogError as error:
            self.failed(error)
        return True

    def append_value(
        self,
        name: str,
        body: dict[str, Any],
        value: bytes,
        on_read: OnRead,
        *,
        key: str = "",
        parts: list[bytes] | None = None,
    ) -> None:
        """The same for a value that is encoded already; `parts` are the bytes of a commit's changes."""
        if not self.acting:
            return  # what is decided too late is decided again by the next owner
        stamp = Stamp(self._owner, self._epoch, self._seq + 1)
        packed = stamp.pack()
        self._producer.append(
            Topic.JOURNAL,
            self.state.number,
            value,
            key=key.encode(),
            headers={KIND: name.encode(), STAMP: packed},
            done=self._done,
        )
        self._seq += 1
        self._unread.append(Unread(packed, stamp, name, body, on_read, parts))

    def _done(self, result: int | LogError) -> None:
        if isinstance(result, LogError):
            self.failed(result)

    def match(self, entry: Entry) -> Unread | None:
        """The own record that this entry is, if it is the one that must come next."""
        stamp = entry.headers.get(STAMP)
        if stamp is None or not self._unread or not stamp.startswith(self._owner):
            return None
        return self._unread.popleft() if stamp == self._unread[0].packed else None

    @property
    def unread(self) -> int:
        """Own records that are not read back yet."""
        return len(self._unread)
