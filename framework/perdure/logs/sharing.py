"""How the members of a group share the partitions: fair, and moving as little as can be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def fair_share(members: Sequence[str], owners: Mapping[int, str], partitions: int) -> dict[int, str]:
    """Who should own each partition, given who does now. Owners that are no members count as gone.

    Every caller that sees the same members and owners gets the same answer. Empty without members.
    """
    if not members:
        return {}
    held: dict[str, list[int]] = {member: [] for member in members}
    for partition in range(partitions):
        owner = owners.get(partition)
        if owner in held:
            held[owner].append(partition)
    base, extra = divmod(partitions, len(members))
    ranked = sorted(members, key=lambda member: (-len(held[member]), member))
    quota = {member: base + (rank < extra) for rank, member in enumerate(ranked)}
    share = {partition: member for member in members for partition in held[member][: quota[member]]}
    room = [member for member in members for _ in range(quota[member] - len(held[member]))]
    free = (partition for partition in range(partitions) if partition not in share)
    share.update(zip(free, room, strict=True))
    return share
