"""A16: growth spreads new runs, and moves nothing that has a name."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perdure.core import codec, effects, ids, routing
from perdure.core.decide.ingest import Incoming, ingest
from perdure.core.facts import CHANNEL, pack_channel
from perdure.core.invariants import check
from tests.core.journal import Journal, event

GENERATIONS = st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True).map(
    lambda n: tuple(sorted(n))
)
NAMES = st.text(min_size=1, max_size=20)


@given(GENERATIONS)
def test_every_partition_is_of_one_generation(generations: tuple[int, ...]) -> None:
    found = [routing.generation_of(partition, generations) for partition in range(generations[-1])]
    assert found == sorted(found)
    assert [found.count(n + 1) for n in range(len(generations))] == [
        after - before for before, after in pairwise((0, *generations))
    ]


@given(GENERATIONS, st.integers(0, 39), NAMES)
def test_an_id_says_where_its_run_is_before_and_after_a_growth(
    generations: tuple[int, ...], home: int, name: str
) -> None:
    home %= generations[0]
    run = routing.new_run(home, generations, "event", name)
    placed = ids.placement(run)
    assert placed is not None
    generation, partition = placed
    assert generation == routing.generation_of(partition, generations)
    assert partition == home or partition >= generations[0]
    assert partition < generations[-1]
    for later in (generations, (*generations, generations[-1] + 7)):
        assert routing.run_partition(run, later[0]) == partition
        assert routing.generation_of(partition, later) == generation, "a growth renames nothing"


@given(GENERATIONS, NAMES, st.binary(max_size=8))
def test_what_has_a_name_stays(generations: tuple[int, ...], name: str, value: bytes) -> None:
    first = generations[0]
    named = ids.named_run("f", "order-" + name.encode().hex())
    for grown in (generations, (*generations, generations[-1] * 2)):
        assert grown[0] == first
        assert routing.run_partition(named, grown[0]) == routing.partition_of(f"run:{named}", first) < first
        assert routing.cell_partition(name, "data.id", value, grown[0]) < first
        assert routing.event_partition(name, grown[0]) < first


def test_each_partition_gets_its_share_of_the_runs() -> None:
    runs = [routing.new_run(n % 4, (4, 8, 12), "event", n) for n in range(6_000)]
    counts = [0] * 12
    for run in runs:
        counts[routing.run_partition(run, 4)] += 1
    assert min(counts) > 400 < max(counts) < 600, counts


def test_runs_of_two_homes_that_meet_elsewhere_have_ids_of_their_own() -> None:
    """Two events at the same moment and offset, in two partitions: the second run was taken for the first."""
    runs = [routing.new_run(home, (4, 12), "event", n) for home in range(4) for n in range(500)]
    assert len(set(runs)) == 2_000


def test_without_growth_a_run_stays_where_its_event_was_read() -> None:
    assert {routing.new_run(3, (4,), n).partition("-")[0] for n in range(100)} == {"1p3"}


def test_an_event_starts_a_run_in_a_partition_of_a_later_generation() -> None:
    """The record that routes it says so, and the partition's channel brings it there, once."""
    journal = Journal(partitions=2)
    journal.claim()
    journal.config(("f", ["a"]))
    state = journal.state
    batch = [Incoming(offset, 1_000, event("a", id=f"e{offset}")) for offset in range(40)]
    body = ingest(state, batch, "app", (2, 6))
    homes = [routing.run_partition(start["run"], 2) for start in body["starts"]]
    assert set(homes) == {0, 2, 3, 4, 5}, "never in another partition of generation 1: no message for nothing"
    assert journal.append("Ingest", body, journal.stamp()) is None
    assert len(state.runs) == homes.count(0) > 0

    for number in range(2, 6):
        there = Journal(number, partitions=2)
        there.state.generation = routing.generation_of(number, (2, 6))
        for _, value in state.outbox[f"j{number}"]:
            _, sent = codec.decode(value)
            headers = {CHANNEL: pack_channel(sent["origin"], sent["seq"])}
            assert there.append("Message", sent, headers) is None
            assert there.append("Message", sent, headers), "sent again, it is void"
        assert len(there.state.runs) == homes.count(number) > 0
        assert all(run.parent is None and run.status == "queued" for run in there.state.runs.values())
        assert not check(there.state)


def test_what_another_app_or_version_put_elsewhere_starts_nowhere_twice() -> None:
    """A run id that a growth placed elsewhere is never begun here as well."""
    journal = Journal(partitions=1)
    journal.claim()
    journal.config(("f", ["a"]))
    batch = [Incoming(0, 1_000, event("a"))]
    body = ingest(journal.state, batch)
    body["starts"][0]["run"] = ids.placed_run(2, 3, "elsewhere")
    assert journal.append("Ingest", body, journal.stamp()) is None
    assert not journal.state.runs
    assert [effect for effect in journal.effects if isinstance(effect, effects.Send)] == [effects.Send("j3")]
