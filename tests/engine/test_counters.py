"""What a step costs, in numbers that no machine changes: records, bytes, encodes, transactions of the file, spans.

Times are for benchmarks. A number here that grows is a cost that somebody has added; one that shrinks is pinned anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from perdure import App, Context
from perdure.authoring.functions import Function
from perdure.client import ends
from perdure.core import codec
from perdure.core.facts import KIND
from perdure.logs.contract import REPLIES_PARTITIONS, Entry, Log, Topic
from perdure.logs.sqlite.committer import Committer
from perdure.testing import environment
from tests.observability.collecting import Collected, provider_set

pytestmark = pytest.mark.asyncio
FANOUT = 100
STEPS = {"W2": 3, "W3": FANOUT + 1}
RUNS = 5


async def plus(number: int) -> int:
    return number + 1


async def total(numbers: list[int]) -> int:
    return sum(numbers)


async def three(ctx: Context[dict[str, Any]]) -> int:
    number = await ctx.step.run("one", plus, 0)
    number = await ctx.step.run("two", plus, number)
    return await ctx.step.run("three", plus, number)


async def fanned(ctx: Context[dict[str, Any]]) -> int:
    return await ctx.step.run("reduce", total, await ctx.step.map("map", plus, range(FANOUT)))


def made(log: str | None) -> tuple[App, dict[str, Function[Any, Any]]]:
    app = App("counted", log=log)
    return app, {"W2": app.function(three), "W3": app.function(fanned)}


class Counts:
    """What happens while it looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encodes: Counter[str] = Counter()
        self.transactions = 0
        encode, encode_commit, write = codec.encode, codec.encode_commit, Committer._write

        def counted(name: str, body: Mapping[str, Any]) -> bytes:
            self.encodes[name] += 1
            return encode(name, body)

        def counted_commit(body: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
            self.encodes["Commit"] += 1
            return encode_commit(body)

        def written(committer: Committer, group: list[Any]) -> Any:
            self.transactions += 1
            return write(committer, group)

        # A client that has waited for a second asks once more, by a command: on a busy machine that takes so long.
        monkeypatch.setattr(ends, "ASK_AGAIN_S", (3_600.0,))
        monkeypatch.setattr(codec, "encode", counted)
        monkeypatch.setattr(codec, "encode_commit", counted_commit)
        monkeypatch.setattr(Committer, "_write", written)

    def reset(self) -> None:
        self.encodes.clear()
        self.transactions = 0


def size(entry: Entry) -> int:
    return len(entry.key) + len(entry.value) + sum(len(k) + len(v) for k, v in entry.headers.items())


async def journal(log: Log) -> list[Entry]:
    found: list[Entry] = []
    for number in range(log.partitions):
        first, end = await log.bounds(Topic.JOURNAL, number)
        at = first
        while at < end:
            batch = await log.read(Topic.JOURNAL, number, at, 1_000)
            if not batch:
                break
            found += batch
            at = batch[-1].offset + 1
    return found


async def elsewhere(log: Log) -> int:
    """Entries beside the journal."""
    count = 0
    for topic, partitions in ((Topic.EVENTS, log.partitions), (Topic.REPLIES, REPLIES_PARTITIONS)):
        for number in range(partitions):
            first, end = await log.bounds(topic, number)
            count += end - first
    return count


class Told:
    """Of some runs."""

    def __init__(
        self, kinds: Counter[str], written: int, encodes: Counter[str], transactions: int, beside: int
    ):
        self.kinds, self.written, self.encodes = kinds, written, encodes
        self.transactions, self.beside = transactions, beside


async def counted(log: Log, counts: Counts, start: Callable[[], Any], workload: str) -> Told:
    """What runs of a workload leave, one at a time."""
    expected = {"W2": 3, "W3": FANOUT * (FANOUT + 1) // 2}[workload]
    for _ in range(RUNS):
        await start()  # the first of a process have more to tell
    before, beside = await journal(log), await elsewhere(log)
    counts.reset()
    for _ in range(RUNS):
        assert await start() == expected
    encodes, transactions = +counts.encodes, counts.transactions
    after = await journal(log)
    kinds = Counter(entry.headers[KIND].decode() for entry in after)
    kinds.subtract(entry.headers[KIND].decode() for entry in before)
    written = sum(map(size, after)) - sum(map(size, before))
    return Told(+kinds, written, encodes, transactions, await elsewhere(log) - beside)


COMMITS = {"W2": 3, "W3": 2}
"""The first has the start of the body and the first outcome, the last the last outcome and the end of the run."""
BYTES_MAX = {"W2": 230, "W3": 37}
"""Per step, with its payload of a byte or two. The budget is 300."""


@pytest.mark.parametrize("workload", STEPS)
async def test_in_memory(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(monkeypatch)
    app, functions = made(None)
    async with environment(app) as env:
        env.reader.read = _nothing  # it folds, too, and the fold encodes parts of what others wrote

        async def start() -> Any:
            handle = await app.start(functions[workload])
            await env.settle()
            return await handle.result()

        told = await counted(env.log, counts, start, workload)
    assert told.kinds == {"Command": RUNS, "Commit": RUNS * COMMITS[workload]}
    assert told.written / RUNS / STEPS[workload] < BYTES_MAX[workload]
    assert told.encodes == told.kinds + Counter({"Reply": RUNS})
    assert told.beside == RUNS  # the answers, to a client of another connection


async def _nothing() -> None:
    pass


@pytest.mark.parametrize("workload", STEPS)
async def test_on_a_file(workload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(monkeypatch)
    app, functions = made(f"sqlite:///{tmp_path}/log.db?synchronous=full")
    async with app.worker() as engine:

        async def start() -> Any:
            return await (await app.start(functions[workload])).result()

        told = await counted(engine.services.log, counts, start, workload)
    await app.close()
    assert told.kinds["Command"] == RUNS
    # How many outcomes share a commit is a matter of moments when a hundred come at once.
    most = RUNS * COMMITS[workload] if workload == "W2" else RUNS * 10
    assert RUNS * COMMITS[workload] <= told.kinds["Commit"] <= most
    assert told.kinds.total() == told.kinds["Command"] + told.kinds["Commit"]
    assert told.encodes == told.kinds  # each record once: what is read back is not encoded again
    assert told.transactions <= told.kinds.total()  # each is a sync of the disk
    assert told.written / RUNS / STEPS[workload] < BYTES_MAX[workload] * 1.5
    assert told.beside == 0  # an answer in the process needs no log


@pytest.mark.parametrize("workload", STEPS)
async def test_spans(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the run, one for each step, one for each attempt, and no more."""
    found = Collected()
    with provider_set(monkeypatch, found.provider):
        app, functions = made(None)
        async with environment(app) as env:
            for _ in range(2):
                found.clear()
                await env.start(functions[workload])
                assert len(found.spans) == 1 + 2 * STEPS[workload]
