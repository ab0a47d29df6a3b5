"""Followers get everything once, in order."""

from __future__ import annotations

from perdure.testing.log_contract.world import (
    EVENTS,
    JOURNAL,
    World,
    append,
    scenario,
    tail,
    until,
)


class Following:
    """Followers get everything once, in order."""

    @scenario
    async def test_a_follower_gets_what_is_there_and_what_comes(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        await append(log.producer(), JOURNAL, 0, *(b"%d" % number for number in range(1_500)))
        got, _ = tail(log, JOURNAL, 0, 0)
        far, _ = tail(other, JOURNAL, 0, 1_490)
        await append(log.producer(), JOURNAL, 0, *(b"%d" % number for number in range(1_500, 1_600)))
        await append(other.producer(), JOURNAL, 0, *(b"%d" % number for number in range(1_600, 1_700)))
        await until(lambda: len(got) == 1_700 and len(far) == 210, "all are delivered")
        assert [entry.offset for entry in got] == list(range(1_700))
        assert [entry.value for entry in got] == [b"%d" % number for number in range(1_700)]
        assert [entry.offset for entry in far] == list(range(1_490, 1_700))

    @scenario
    async def test_following_at_the_end_and_beyond(self, world: World) -> None:
        log = await world.log()
        await append(log.producer(), JOURNAL, 0, b"0", b"1")
        at_end, _ = tail(log, JOURNAL, 0, 2)
        beyond, _ = tail(log, JOURNAL, 0, 4)
        for number in range(2, 6):
            await append(log.producer(), JOURNAL, 0, b"%d" % number)
        await until(lambda: len(at_end) == 4 and len(beyond) == 2, "both got theirs")
        assert [entry.offset for entry in at_end] == [2, 3, 4, 5]
        assert [entry.offset for entry in beyond] == [4, 5]

    @scenario
    async def test_a_closed_follower_gets_nothing(self, world: World) -> None:
        log = await world.log()
        got, follower = tail(log, JOURNAL, 0, 0)
        witness, _ = tail(log, JOURNAL, 0, 0)
        await append(log.producer(), JOURNAL, 0, b"a")
        await until(lambda: len(got) == 1, "the first is delivered")
        log.producer().append(JOURNAL, 0, b"b")
        follower.close()
        follower.close()
        await append(log.producer(), JOURNAL, 0, b"c")
        await until(lambda: len(witness) == 3, "the witness got all")
        assert [entry.value for entry in got] == [b"a"]

    @scenario
    async def test_a_member_follows_anew_from_elsewhere(self, world: World) -> None:
        log = await world.log()
        await append(log.producer(), JOURNAL, 0, b"0", b"1", b"2")
        recorder = await world.join(log)
        member = recorder.member
        assert member is not None
        await until(lambda: len(recorder.values(JOURNAL, 0)) == 3, "all are delivered")
        recorder.got.clear()
        member.follow(JOURNAL, 0, 1)
        await until(lambda: recorder.values(JOURNAL, 0) == [b"1", b"2"], "again from 1")
        await append(log.producer(), JOURNAL, 0, b"3")
        await until(lambda: recorder.values(JOURNAL, 0) == [b"1", b"2", b"3"], "and on")
        member.unfollow(JOURNAL, 0)
        await append(log.producer(), JOURNAL, 0, b"4")
        member.follow(EVENTS, 0, 0)
        await append(log.producer(), EVENTS, 0, b"event")
        await until(lambda: recorder.values(EVENTS, 0) == [b"event"], "events are followed")
        assert recorder.values(JOURNAL, 0) == [b"1", b"2", b"3"]

    @scenario
    async def test_pause_holds_back_and_resume_goes_on(self, world: World) -> None:
        log = await world.log()
        recorder = await world.join(log)
        member = recorder.member
        assert member is not None
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
        await append(log.producer(), JOURNAL, 0, b"0")
        await until(lambda: recorder.values(JOURNAL, 0) == [b"0"], "the first is delivered")
        log.producer().append(JOURNAL, 0, b"1")
        member.pause(JOURNAL, 0)
        await append(log.producer(), JOURNAL, 0, b"2")
        await append(log.producer(), JOURNAL, 1, b"witness")
        await until(lambda: recorder.values(JOURNAL, 1) == [b"witness"], "the other partition goes on")
        assert recorder.values(JOURNAL, 0) == [b"0"]
        member.resume(JOURNAL, 0)
        await append(log.producer(), JOURNAL, 0, b"3")
        await until(lambda: recorder.values(JOURNAL, 0) == [b"0", b"1", b"2", b"3"], "all, in order")
