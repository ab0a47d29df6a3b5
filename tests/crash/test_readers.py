"""Snapshots, trimming and several readers, under kill -9 (promise 4, A10)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from perdure.core import snapshot
from perdure.core.facts import read_fact
from perdure.core.fold import fold
from perdure.core.limits import DEFAULT_LIMITS
from perdure.index.reader import JournalReader
from tests.crash import ledger, verdict
from tests.crash.lives import end_of, ends_of
from tests.crash.processes import Place, pause, until
from tests.crash.recording import Recorder, outside
from tests.crash.test_random_kills import PATIENT, all_accepted, known_items
from tests.crash.verdict import portrait

KILLED = -9
KILLS = 15
SNAPSHOTS_MIN = 18
SEED = 8
PARTITIONS = 2
SMALL = {"snapshot_tail_bytes_min": 4_000, "snapshot_chunk_bytes_max": 8_000, "history_time_max": 0} | PATIENT
LIMITS = replace(DEFAULT_LIMITS, **SMALL)

MakePlace = Callable[..., Place]


def ended(place: Place, total: int) -> bool:
    """Whether a new reader finds all runs, and that they have ended."""

    def look(reader: JournalReader, _begins: list[int]) -> bool:
        runs = reader.runs()
        return len(runs) >= total and not any(run.live for run in runs)

    return outside(place.folder, LIMITS, look)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two portraits differ."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        return [d for key in one for d in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return [
            d
            for n, pair in enumerate(zip(one, other, strict=True))
            for d in differences(*pair, f"{where}/{n}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            d
            for n, pair in enumerate(zip(one, other, strict=True))
            for d in differences(*pair, f"{where}/{n}")
        ]
    return [] if one == other else [f"{where}: {one!r} against {other!r}"[:2_000]]


def test_promise_4_snapshot_and_tail_are_the_whole(place: MakePlace) -> None:
    draw = random.Random(SEED)
    here = place(partitions=PARTITIONS, limits=SMALL)
    recorder = Recorder(here.folder, PARTITIONS)
    try:
        workers = [here.start("work") for _ in range(2)]
        sender = here.start("produce", seed=SEED, pause_s=0.01)
        for _ in range(KILLS):
            grown = ledger.size(here.folder) + draw.randrange(5_000, 20_000)
            until(lambda grown=grown: ledger.size(here.folder) >= grown, "steps run", 20)
            pause(draw.uniform(0, 0.03))
            victim = draw.randrange(2)
            assert workers[victim].kill() == KILLED
            workers[victim] = here.start("work")
        # On a slow machine the kills leave less time for snapshots, and some of those seen are not accepted.
        until(lambda: len(recorder.snapshots) >= SNAPSHOTS_MIN, "snapshots are taken", 60)
        (here.folder / "enough").touch()
        assert sender.wait() == 0, sender.errors()
        wanted = ends_of(known_items(here.folder))
        until(lambda: ended(here, wanted.total()), f"all runs end\n{sender.errors()}")
        assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()
    finally:
        recorder.stop()

    story = recorder.story(LIMITS)
    assert all_accepted(here.folder)
    verdict.check(story, ledger.read(here.folder), wanted, kills=None)
    whole = [portrait(state) for state in story.states]
    for (number, name), chunks in recorder.snapshots.items():
        state, covers = snapshot.restore(chunks, LIMITS)
        for entry in recorder.entries[number][covers:]:
            fold(state, read_fact(entry.offset, entry.ts, entry.value, entry.headers))
        state.effects.clear()
        assert not (parted := differences(portrait(state), whole[number])), (
            f"snapshot {name} of partition {number} and its tail differ in {parted}"
        )

    def look(reader: JournalReader, begins: list[int]) -> list[int]:
        assert [portrait(partition.state) for partition in reader.partitions] == whole
        return begins

    begins = outside(here.folder, LIMITS, look)
    assert min(begins) > 0, "nothing was trimmed"
    accepted = len(story.kinds("Snapshotted"))
    assert accepted > 10
    print(
        f"{len(story.records)} records, {len(recorder.snapshots)} snapshots seen, {accepted} accepted,"
        f" journals begin at {begins}, {len(story.runs())} runs"
    )


def test_a10_killed_after_every_write_while_snapshots_are_taken(place: MakePlace) -> None:
    items = [("sequence", 1), ("wait", 2), ("failure", 3)]
    tiny = SMALL | {"snapshot_tail_bytes_min": 600, "snapshot_chunk_bytes_max": 1_000}
    wanted = ends_of(items)
    number = sets = 0
    whole = False
    while not whole:
        deaths = [place(items=items, partitions=1, limits=tiny) for _ in range(6)]
        first = [here.start("whole", kill_at=number + n) for n, here in enumerate(deaths)]
        codes = [child.wait() for child in first]
        assert set(codes) <= {0, KILLED}, first[0].errors()
        second = [here.start("whole") for here, code in zip(deaths, codes, strict=True) if code == KILLED]
        assert {child.wait() for child in second} <= {0}, second[0].errors()
        for n, (here, code) in enumerate(zip(deaths, codes, strict=True)):

            def look(reader: JournalReader, _begins: list[int]) -> tuple[Counter[verdict.End], int]:
                return Counter(map(end_of, reader.runs())), len(reader.partitions[0].state.sets)

            ends, found = outside(here.folder, replace(DEFAULT_LIMITS, **tiny), look)
            assert ends == wanted, f"killed after write {number + n}"
            assert verdict.reruns(ledger.read(here.folder)) <= 3 * (
                code == KILLED
            )  # three runs are under way
            sets += found
        whole = 0 in codes
        number += 6
    assert number > 40
    assert sets > number
    print(f"{number} points, {sets} sets of snapshots in force at the ends")
