"""Workers come, leave, hang and die, one every one to three seconds: the group makes progress throughout."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.crash import ledger, verdict
from tests.crash.processes import Child, pause, until
from tests.crash.test_random_kills import PATIENT
from tests.kafka.conftest import MakePlace
from tests.kafka.load import Load

STORM_S = float(os.environ.get("PERDURE_STORM_S", "30"))
"""Two minutes and more are for who has the time: PERDURE_STORM_S=120."""
GAP_MAX_S = 12.0
"""Between two steps: a killed member is waited for during a session (2.5 s), and some die one after the other."""
MEMBERS_MAX = 4

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(STORM_S + 240)]


class Storm:
    """Members that come, go, die, and hang; one always stays."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.leaving: list[Child] = []
        self.hung: list[Child] = []
        self.stopped: set[int] = set()
        self.done: dict[str, int] = dict.fromkeys(("join", "leave", "kill", "hang"), 0)

    def blow(self) -> None:
        """One change."""
        load = self.load
        what = load.draw.choice(["join", "leave", "kill", "hang"])
        if len(load.workers) == 1 or (what == "join" and len(load.workers) < MEMBERS_MAX):
            what = "join"
            load.workers.append(load.place.start("work"))
        else:
            what = "leave" if what == "join" else what
            victim = load.workers.pop(load.draw.randrange(len(load.workers)))
            if what == "kill":
                assert victim.kill() == -9, load.errors()
            elif what == "leave":
                self._ask_to_leave(victim)
            else:
                victim.signal(signal.SIGSTOP)
                self.hung.append(victim)
                self.stopped.add(victim.pid)
        self.done[what] += 1
        if len(self.hung) > 1:  # for longer than its session: a zombie
            zombie = self.hung.pop(0)
            zombie.signal(signal.SIGCONT)
            load.workers.append(zombie)

    def _ask_to_leave(self, worker: Child) -> None:
        worker.signal(signal.SIGTERM)
        self.leaving.append(worker)

    def over(self) -> None:
        for zombie in self.hung:
            zombie.signal(signal.SIGCONT)
            self.load.workers.append(zombie)
        # 143: it was asked to leave before its start was complete; -15: before it could hear that.
        codes = [worker.wait() for worker in self.leaving]
        assert set(codes) <= {0, 143, -signal.SIGTERM}, f"{codes}\n{self.load.errors()}"


def test_promise_1_2_3_workers_come_and_go(place: MakePlace) -> None:
    load = Load(place(partitions=8, limits=PATIENT))
    storm = Storm(load)
    began = time.monotonic()
    blow_at, size, changed, gap_s = began, 0, began, 0.0

    def look() -> bool:
        nonlocal blow_at, size, changed, gap_s
        now = time.monotonic()
        gap_s = max(gap_s, now - changed)
        if (grown := ledger.size(load.place.folder)) > size:
            size, changed = grown, now
        if now >= blow_at:
            storm.blow()
            blow_at = now + load.draw.uniform(1, 3)
        pause(0.05)
        return now > began + STORM_S

    until(look, "the storm is over", STORM_S + 60)
    storm.over()
    # To read all that a long storm leaves takes its time. Who was stopped may begin what others have done meanwhile.
    story = load.settle(60 + STORM_S, storm.stopped)
    claims = len(story.kinds("Claim"))
    print(
        f"{storm.done}; {len(story.runs())} runs, {claims} claims, longest gap {gap_s:.1f} s,"
        f" {verdict.reruns(ledger.read(load.place.folder))} attempts executed again, voids {dict(story.voids())}"
    )
    assert gap_s < GAP_MAX_S, "the group stood still"
    assert min(storm.done.values()) > 0
