"""Which process owns which partition, agreed on through small files in the shared directory.

`members/<id>` is held by `flock` as long as its member lives: the kernel lets go of it at a `kill -9`. In it
stands when the member was last seen well (`CLOCK_MONOTONIC` within one boot); a member whose event loop
hangs, or that is stopped, no longer renews this and counts as gone when the lease is over; one that waits
for its disk does (`pulse`). `assignment` says
who owns what. Every member looks at all this some times a second, and whenever it is rung, under the lock
`assignment.lock`; each takes and gives for itself alone, and all compute the same fair share.

None of this is for safety: a member that was thought dead may still append. Claims in the log see to that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

from perdure.errors import LogError
from perdure.logs.sharing import fair_share
from perdure.logs.sqlite.neighbours import Lock, SharedDirectory, boot_id
from perdure.logs.sqlite.pulse import Pulse

_STATE: Final = struct.Struct("<36sQ?")  # boot id, last beat in monotonic ns, whether it is leaving
PATIENCE_NS: Final = 2_000_000_000
"""Whoever leaves waits so long for what it has to say to the others."""


class SeatEvents(Protocol):
    """What a member is told; called on the thread."""

    def assigned(self, partition: int) -> None: ...
    def revoke(self, partition: int) -> None: ...
    def lost(self, partition: int) -> None: ...
    def left(self) -> None: ...
    def ended(self, error: LogError) -> None: ...


class Seat:
    """This process's side of one member."""

    def __init__(self, shared: SharedDirectory, events: SeatEvents, boot: bytes) -> None:
        self.name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.events = events
        self.held: set[int] = set()
        self.revoking: set[int] = set()
        self.released: set[int] = set()
        self.leaving = False
        self._boot = boot
        self._beating = threading.Lock()
        self._path = shared.members / self.name
        new = shared.root / f"new-{self.name}"
        try:
            self._lock = Lock(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            self._lock.take()  # held before others can see it
            self.beat()
            os.rename(new, self._path)
        except OSError as error:
            raise LogError(f"cannot join the group in {shared.members}: {error.strerror}") from error

    def beat(self) -> None:
        """Seen well just now. From any thread."""
        with self._beating:
            if self._lock.fd >= 0:
                state = _STATE.pack(self._boot.ljust(36), time.monotonic_ns(), self.leaving)
                os.pwrite(self._lock.fd, state, 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        with self._beating:  # else what is opened next under this number would be written to
            self._lock.close()


class Membership:
    """The members of this process among all. Belongs to the thread."""

    def __init__(
        self,
        shared: SharedDirectory,
        partitions: int,
        lease_us: int,
        changed: Callable[[], None],
        well: Callable[[], bool],
    ) -> None:
        """`well`: this process's event loop takes what it is handed, so its leases may be renewed. Any thread asks."""
        self.seats: list[Seat] = []
        self._shared = shared
        self._partitions = partitions
        self._lease_ns = lease_us * 1_000
        self._changed = changed
        self._well = well
        self._pulse = Pulse(lease_us, self._renew)
        self._boot = boot_id()
        self._lock = shared.lock("assignment.lock")
        self._settled_ns = time.monotonic_ns()
        self._path = shared.root / "assignment"

    def join(self, events: SeatEvents) -> Seat:
        seat = Seat(self._shared, events, self._boot)
        if not self.seats:
            self._settled_ns = time.monotonic_ns()
        self.seats.append(seat)
        self._pulse.begin()
        self._changed()
        return seat

    def _renew(self) -> None:
        if self._well():
            for seat in tuple(self.seats):
                seat.beat()

    def tick(self) -> bool:
        """Look at the group, take what is due and give what is asked; False when its lock was taken, so:
        again soon. Raises `OSError` when the directory cannot be written; nothing has changed then.
        """
        well = self._well()
        try:
            if well:
                for seat in self.seats:
                    seat.beat()
            if not self._lock.take_now():
                self._leave_unsettled()
                return False
            try:
                changed = self._settle(well)
            finally:
                self._lock.free()
        except OSError:
            self._leave_unsettled()
            raise
        self._settled_ns = time.monotonic_ns()
        if self._dismiss() or changed:
            self._changed()
        return True

    def _dismiss(self) -> bool:
        """Those that leave and have nothing any more are gone; whether there were some."""
        gone = [seat for seat in self.seats if seat.leaving and not seat.held]
        for seat in gone:
            self.seats.remove(seat)
            seat.close()
            seat.events.left()
        return bool(gone)

    def _leave_unsettled(self) -> None:
        """The lock is that of a process which is stopped, or the directory cannot be written. After some patience who
        leaves does so all the same: its partitions come free since it is no member any more.
        """
        if time.monotonic_ns() - self._settled_ns < PATIENCE_NS:
            return
        for seat in [seat for seat in self.seats if seat.leaving]:
            seat.held -= seat.released
            for partition in seat.held - seat.revoking:
                seat.revoking.add(partition)
                seat.events.revoke(partition)
        self._dismiss()

    def _settle(self, well: bool) -> bool:
        before = self._read()
        owners = before.copy()
        for seat in self.seats:
            for partition in seat.released:
                if owners.get(partition) == seat.name:
                    del owners[partition]
        sharing, keeping = self._members()
        share = fair_share(sorted(sharing), owners, self._partitions)
        mine = {seat.name: seat for seat in self.seats}
        taken: list[tuple[Seat, int]] = []
        asked: list[tuple[Seat, int]] = []
        for partition in range(self._partitions):
            owner, heir = owners.get(partition), share.get(partition)
            if owner in mine:
                seat = mine[owner]
                if owner != heir and (heir is not None or seat.leaving) and partition not in seat.revoking:
                    asked.append((seat, partition))
            elif well and heir in mine and owner not in keeping:
                owners[partition] = heir
                taken.append((mine[heir], partition))
        if owners != before:
            self._write(owners)
        # It stands: from here on nothing may fail.
        for seat in self.seats:
            self._settle_losses(seat, before)
        for seat, partition in asked:
            seat.revoking.add(partition)
            seat.events.revoke(partition)
        for seat, partition in taken:
            seat.held.add(partition)
            seat.events.assigned(partition)
        return owners != before

    @staticmethod
    def _settle_losses(seat: Seat, owners: dict[int, str]) -> None:
        """`owners`: as others have left it."""
        seat.held -= seat.released
        seat.revoking -= seat.released
        seat.released.clear()
        for partition in [p for p in seat.held if owners.get(p) != seat.name]:
            seat.held.discard(partition)
            seat.revoking.discard(partition)
            seat.events.lost(partition)

    def _members(self) -> tuple[set[str], set[str]]:
        """Who shares the partitions, and who keeps what it has until it gives it: the same, and those that
        leave.
        """
        sharing: set[str] = set()
        keeping: set[str] = set()
        mine = {seat.name: seat for seat in self.seats}
        for name in os.listdir(self._shared.members):
            leaving = mine[name].leaving if name in mine else self._look_at(name)
            if leaving is not None:
                keeping.add(name)
                if not leaving:
                    sharing.add(name)
        return sharing, keeping

    def _look_at(self, name: str) -> bool | None:
        """Whether another member is leaving; None when it is dead or hangs."""
        path = self._shared.members / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._lease_of(os.pread(fd, _STATE.size, 0))
            with contextlib.suppress(OSError):
                os.unlink(path)  # nobody holds it: its process is gone
            return None
        finally:
            os.close(fd)

    def _lease_of(self, state: bytes) -> bool | None:
        if len(state) < _STATE.size:
            return False
        boot, beat_ns, leaving = _STATE.unpack(state)
        if boot.strip() != self._boot or time.monotonic_ns() - beat_ns > self._lease_ns:
            return None
        return leaving

    def _read(self) -> dict[int, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {int(partition): str(name) for partition, name in cast("dict[str, object]", found).items()}

    def _write(self, owners: dict[int, str]) -> None:
        new = self._shared.root / "assignment.new"
        new.write_text(json.dumps(owners, indent=1))
        os.replace(new, self._path)

    def close(self) -> None:
        """Go without asking: for when the log closes, or its thread dies."""
        self._pulse.end()
        for seat in self.seats:
            seat.close()
        self.seats.clear()
        self._lock.close()
