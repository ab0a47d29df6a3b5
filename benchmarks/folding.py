"""One repetition: how fast a journal is folded. Prints one line of JSON; with `--profile`, where the time goes.

The journal is a real one, of W2: runs one at a time, so that each record holds one turn, and 200 in flight, so that
they share records. It is folded twice. *Read*: from bytes, as who recovers a partition does; each record is decoded.
*Fold*: `core.fold` alone, over facts that are decoded, as an owner folds what it has encoded itself. A record is an
entry of the journal. An op is one change in it to one run; what starts a run, claims or tells counts as one op.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from floor import journal_bounds
from places import Cells, Setting, on_a_file, repetition_of
from repetition import WARM_UP
from workloads import drive, make_app

from perdure.core import codec
from perdure.core.facts import Fact, read_fact
from perdure.core.fold import fold
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.state import PartitionState
from perdure.logs.contract import Entry, Log, Topic

RUNS = {"one at a time": (1_500, 1), "x200": (6_000, 200)}
RUNS_QUICK = {"one at a time": (100, 1), "x200": (400, 200)}
ENOUGH_S = 60.0
ROUNDS = 3
READ_MAX = 1_000
Journal = list[list[Entry]]
"""The entries of each partition."""


async def journal_of(folder: Path, runs: int, in_flight: int) -> Journal:
    """A journal of W2."""
    async with on_a_file(folder) as (url, _):
        app, functions = make_app(url)
        try:
            async with app.worker() as engine:
                await drive(app, functions["W2"], WARM_UP, 1, 1.0)
                await drive(app, functions["W2"], runs, in_flight, ENOUGH_S)
                return await read_all(engine.services.log)
        finally:
            await app.close()


async def read_all(log: Log) -> Journal:
    journal: Journal = []
    for number, (position, _) in enumerate(await journal_bounds(log)):
        entries: list[Entry] = []
        while batch := await log.read(Topic.JOURNAL, number, position, READ_MAX):
            entries += batch
            position = batch[-1].offset + 1
        journal.append(entries)
    return journal


def ops_in(fact: Fact) -> int:
    """How many changes a record makes."""
    if fact.kind != "Commit":
        return 1
    return max(sum(len(change["ops"]) for change in fact.body["changes"]), 1)


def fresh(number: int, partitions: int) -> PartitionState:
    return PartitionState(number, partitions, limits=DEFAULT_LIMITS)


def read(journal: Journal) -> float:
    """Seconds for bytes to state, as a new owner does it."""
    gc.collect()
    began = perf_counter()
    for number, entries in enumerate(journal):
        state = fresh(number, len(journal))
        for entry in entries:
            fold(state, read_fact(entry.offset, entry.ts, entry.value, entry.headers))
            if state.effects:
                state.effects = []
    return perf_counter() - began


def facts_of(journal: Journal) -> list[list[Fact]]:
    """The journal as its owner has it: decoded, with the bytes of each change."""
    found: list[list[Fact]] = []
    for entries in journal:
        facts = [read_fact(e.offset, e.ts, e.value, e.headers) for e in entries]
        for fact in facts:
            if fact.kind == "Commit":
                fact.parts = codec.parts_of(fact.body)
        found.append(facts)
    return found


def folded(facts: Sequence[Sequence[Fact]]) -> float:
    """Seconds for facts to state."""
    gc.collect()
    began = perf_counter()
    for number, these in enumerate(facts):
        state = fresh(number, len(facts))
        for fact in these:
            fold(state, fact)
            if state.effects:
                state.effects = []
    return perf_counter() - began


def figures(journal: Journal) -> dict[str, float]:
    """The best of some rounds: a fold has nothing to wait for, so whatever is slower was disturbed."""
    facts = facts_of(journal)
    records, ops = sum(map(len, facts)), sum(ops_in(fact) for these in facts for fact in these)
    read_s = min(read(journal) for _ in range(ROUNDS))
    fold_s = min(folded(facts_of(journal)) for _ in range(ROUNDS))  # the fold keeps parts of the facts
    return {
        "records": records,
        "ops_per_record": ops / records,
        "fold_records_per_s": records / fold_s,
        "fold_ops_per_s": ops / fold_s,
        "read_records_per_s": records / read_s,
        "read_ops_per_s": ops / read_s,
    }


async def measure(setting: Setting) -> Cells:
    cells: Cells = {}
    for name, (runs, in_flight) in (RUNS_QUICK if setting.quick else RUNS).items():
        place = Path(tempfile.mkdtemp(dir=setting.folder))
        cells[f"fold {name}"] = {"engine": figures(await journal_of(place, runs, in_flight))}
    return cells


def profiled(in_flight: int) -> None:
    """Prints where the time of both goes."""
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as folder:
        runs = RUNS["x200"][0] if in_flight > 1 else RUNS["one at a time"][0]
        journal = asyncio.run(journal_of(Path(folder), runs, in_flight))
    facts = facts_of(journal)
    for what, work in (("fold", lambda: folded(facts)), ("read", lambda: read(journal))):
        profile = cProfile.Profile()
        profile.runcall(work)
        print(f"--- {what}, {sum(map(len, journal))} records")
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    if "--profile" in sys.argv:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--profile", action="store_true")
        parser.add_argument("--in-flight", type=int, default=200)
        profiled(parser.parse_args().in_flight)
    else:
        repetition_of(measure)
