"""The network between a worker and its broker is cut without a word: in both directions, and in each alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.brokers import PrivateBroker, cluster
from tests.brokers.cut import Cable, Direction, cable
from tests.brokers.netns import entered
from tests.crash import ledger
from tests.crash.processes import Child, Zygote, pause, until
from tests.kafka.conftest import MakePlace
from tests.kafka.load import Load

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

LONGER_S = 4.0
"""Longer than a session, so that others take its partitions."""
BACK_WITHIN_S = 40.0


@pytest.fixture(scope="module")
def line() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture(scope="module")
def far(line: Cable) -> Iterator[PrivateBroker]:
    """A broker that both sides of the cable reach by one address."""
    with cluster(1, host=line.outside) as broker:
        yield broker


@pytest.fixture(scope="module")
def inside(line: Cable) -> Iterator[Zygote]:
    """What it forks lives at the other end of the cable."""
    with entered(line.path):
        made = Zygote()
    yield made
    made.close()


def works(worker: Child, since_us: int) -> bool:
    return any(
        line.pid == worker.pid and line.at > since_us for line in ledger.read(worker.folder) if line.key
    )


def test_promise_1_2_3_the_network_is_cut_between_worker_and_broker(
    place: MakePlace, line: Cable, far: PrivateBroker, inside: Zygote
) -> None:
    here = place(servers=far.servers, partitions=4)
    load = Load(here, workers=1)
    distant = here.start("work", zygote=inside)
    load.workers.append(distant)
    until(lambda: works(distant, 0), f"it has its share\n{distant.errors()}")

    cuts: tuple[tuple[Direction, ...], ...] = (("out", "in"), ("out",), ("in",))
    for directions in cuts:
        line.cut(*directions)
        pause(LONGER_S)
        load.goes_on("the other has its partitions")
        cut_us = time.time_ns() // 1_000
        pause(0.5)
        line.mend()
        mended = time.monotonic()
        until(
            lambda cut_us=cut_us: works(distant, cut_us),
            f"it has its share again\n{distant.errors()}",
            BACK_WITHIN_S,
        )
        print(f"cut {directions}: back at work after {time.monotonic() - mended:.1f} s")
    story = load.settle(zombies={distant.pid})
    print(f"voids {dict(story.voids())}")
