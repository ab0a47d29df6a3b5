"""Who owns which partition of the log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure.logs.callbacks import report
from perdure.logs.contract import Listener
from perdure.logs.sharing import fair_share


@dataclass(slots=True, eq=False)
class Seat:
    """The group's side of one member."""

    process: str
    name: str
    listener: Listener
    unfollow: Callable[[int], None]
    """Deliver nothing of that partition any more."""
    held: set[int] = field(default_factory=set[int])
    """What it was told that it has."""
    dead: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class Notice:
    """A change that a member has still to be told."""

    kind: Literal["assigned", "revoked", "lost"]
    member: Seat
    partition: int


class Group:
    """Assigns partitions to members, one owner at a time, and asks before it takes one away."""

    def __init__(
        self,
        partitions: int,
        revoke_us: int,
        wake: Callable[[], None],
        guarded: Callable[..., Any],
    ) -> None:
        self.notices: list[Notice] = []
        self._wake = wake
        self._guarded = guarded
        self._partitions = partitions
        self._revoke_s = revoke_us / 1_000_000
        self._members: dict[str, Seat] = {}
        self._leaving: list[Seat] = []
        self._owners: dict[int, Seat] = {}
        self._revoking: dict[int, Notice] = {}
        self._heirs: dict[int, Seat] = {}
        self._tasks: dict[Notice, asyncio.Task[None]] = {}

    def grow(self, partitions: int) -> None:
        """There are so many from now on."""
        self._partitions = partitions
        self._balance()

    def join(self, member: Seat) -> None:
        self._members[member.name] = member
        self._balance()

    def leave(self, member: Seat) -> None:
        """`member.left` is set once it has given everything back."""
        if self._members.pop(member.name, None) is not None:
            self._leaving.append(member)
            self._balance()
        self._check_left(member)

    def kill(self, process: str) -> None:
        for member in [*self._members.values(), *self._leaving]:
            if member.process == process:
                member.dead = True
                self._members.pop(member.name, None)
                self.notices = [notice for notice in self.notices if notice.member is not member]
                for partition in [p for p, owner in self._owners.items() if owner is member]:
                    self._free(partition)
        self._balance()

    def force_revoke(self, partition: int) -> None:
        owner = self._owners.get(partition)
        if owner is not None and partition not in self._revoking:
            self._heirs[partition] = self._another(owner)
            self._revoke(owner, partition)

    def force_lost(self, partition: int) -> None:
        owner = self._owners.get(partition)
        if owner is None:
            return
        revoke = self._revoking.pop(partition, None)
        if revoke is not None and revoke in self._tasks:
            self._tasks[revoke].cancel()  # what it would give back is not its member's any more
        self.notices = [
            n for n in self.notices if n.partition != partition or n.member is not owner or n.kind == "lost"
        ]
        heir = self._another(owner)
        self._notify("lost", owner, partition)
        self._give(heir, partition)

    def heads(self) -> list[Notice]:
        """The oldest change that each member has to hear about each partition."""
        found: dict[tuple[int, int], Notice] = {}
        for notice in self.notices:
            found.setdefault((id(notice.member), notice.partition), notice)
        return list(found.values())

    def perform(self, notice: Notice) -> None:
        if notice not in self.notices:
            return
        self.notices.remove(notice)
        member, partition = notice.member, notice.partition
        if notice.kind == "assigned":
            member.held.add(partition)
            self._guarded(member.listener.assigned, partition)
        elif notice.kind == "lost":
            self._lose(member, partition)
        else:
            task = asyncio.get_running_loop().create_task(self._ask(notice))
            self._tasks[notice] = task
            task.add_done_callback(lambda _: self._tasks.pop(notice, None))

    async def _ask(self, notice: Notice) -> None:
        member, partition = notice.member, notice.partition
        try:
            async with asyncio.timeout(self._revoke_s):
                await member.listener.revoked(partition)
        except TimeoutError:
            if not member.dead and partition in member.held:
                self._lose(member, partition)
        except Exception as error:  # noqa: BLE001 - whatever user code raises is the loop's
            report(asyncio.get_running_loop(), f"revoked({partition})", error)
        if member.dead or self._revoking.get(partition) is not notice:
            return
        member.held.discard(partition)
        member.unfollow(partition)
        self._free(partition)
        heir = self._heirs.pop(partition, None)
        if heir is not None and not heir.dead and heir.name in self._members:
            self._give(heir, partition)
        else:
            self._balance()
        self._check_left(member)

    def _lose(self, member: Seat, partition: int) -> None:
        if partition in member.held:
            member.held.discard(partition)
            member.unfollow(partition)
            self._guarded(member.listener.lost, partition)

    def _balance(self) -> None:
        owners = {partition: owner.name for partition, owner in self._owners.items()}
        for partition, name in fair_share(list(self._members), owners, self._partitions).items():
            owner = self._owners.get(partition)
            if owner is None:
                self._give(self._members[name], partition)
            elif owner.name != name and partition not in self._revoking:
                self._revoke(owner, partition)
        for partition, owner in self._owners.items():
            if owner in self._leaving and partition not in self._revoking:
                self._revoke(owner, partition)

    def _give(self, member: Seat, partition: int) -> None:
        self._owners[partition] = member
        self._notify("assigned", member, partition)

    def _revoke(self, owner: Seat, partition: int) -> None:
        self._revoking[partition] = self._notify("revoked", owner, partition)

    def _free(self, partition: int) -> None:
        self._owners.pop(partition, None)
        self._revoking.pop(partition, None)

    def _another(self, owner: Seat) -> Seat:
        counts = {name: 0 for name in self._members if name != owner.name}
        for holder in self._owners.values():
            if holder.name in counts:
                counts[holder.name] += 1
        return self._members[min(counts, key=lambda name: (counts[name], name))] if counts else owner

    def _notify(self, kind: Literal["assigned", "revoked", "lost"], member: Seat, partition: int) -> Notice:
        notice = Notice(kind, member, partition)
        self.notices.append(notice)
        self._wake()
        return notice

    def _check_left(self, member: Seat) -> None:
        if member.name not in self._members and all(owner is not member for owner in self._owners.values()):
            if member in self._leaving:
                self._leaving.remove(member)
            member.left.set()
