"""Members share the partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perdure.errors import UsageError
from perdure.logs import Log
from perdure.testing.log_contract.world import (
    JOURNAL,
    Recorder,
    World,
    append,
    scenario,
    until,
)


class Grouping:
    """Members share the partitions."""

    @scenario
    async def test_one_member_gets_every_partition(self, world: World) -> None:
        log = await world.log()
        recorder = await world.join(log)
        await until(lambda: recorder.held == set(range(log.partitions)), "all are assigned")
        await append(log.producer(), JOURNAL, 1, b"x")
        await until(lambda: recorder.values(JOURNAL, 1) == [b"x"], "it is delivered")

    @scenario
    async def test_only_what_is_assigned_can_be_followed(self, world: World) -> None:
        log = await world.log()
        member = log.member(Recorder())
        with pytest.raises(UsageError):
            member.follow(JOURNAL, 0, 0)

    @scenario
    async def test_two_members_share_and_never_own_at_once(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        first = await world.join(log)
        await until(lambda: len(first.held) == log.partitions, "all are the first one's")
        first.may_revoke.clear()
        second = await world.join(other)
        await until(
            lambda: ("revoking", max(first.held)) in first.told or len(first.told) > log.partitions, "asked"
        )
        assert second.held == set()
        assert len(first.held) == log.partitions
        first.may_revoke.set()
        await until(lambda: len(second.held) == log.partitions // 2, "half of them moved")
        assert first.held | second.held == set(range(log.partitions))
        assert not first.held & second.held
        moved = min(second.held)
        await append(log.producer(), JOURNAL, moved, b"x")
        await until(lambda: second.values(JOURNAL, moved) == [b"x"], "delivered to the new owner")
        assert first.values(JOURNAL, moved) == []

    @scenario
    async def test_leave_gives_back_in_order_and_the_other_takes_over(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        first, second = await world.join(log), await world.join(other)
        await until(lambda: len(second.held) == log.partitions // 2, "they share")
        kept = set(second.held)
        second.may_revoke.clear()
        assert second.member is not None
        leaving = asyncio.create_task(second.member.leave())
        await until(
            lambda: sum(kind == "revoking" for kind, _ in second.told) == len(kept), "it is asked for all"
        )
        assert not first.held & kept
        second.may_revoke.set()
        await leaving
        assert second.held == set()
        await until(lambda: len(first.held) == log.partitions, "the other has all")

    @scenario
    async def test_a_member_joins_again(self, world: World) -> None:
        log = await world.log()
        recorder = await world.join(log)
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
        assert recorder.member is not None
        await recorder.member.leave()
        assert recorder.held == set()
        recorder = await world.join(log)
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned again")

    def test_lost_without_being_asked(
        self, connect: Callable[[], Log], take_away: Callable[[Log, int], None]
    ) -> None:
        async def run(contract: object, world: World) -> None:
            log = await world.log()
            recorder = await world.join(log)
            await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
            take_away(log, 1)
            await until(lambda: ("lost", 1) in recorder.told, "it is told")
            assert ("revoked", 1) not in recorder.told
            await until(lambda: 1 in recorder.held, "it comes free again, and back to the only member")

        scenario(run)(self, connect)
