"""Measures the engine on a log against that log's own floor: `make bench`, and `make bench-kafka`.

README.md says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from broker import broker
from machine import described, load
from table import Spread, printed, spread_of
from workloads import WHAT

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
ON_FILE = "embedded log, synchronous=FULL"
ON_KAFKA = "Kafka, one broker on the same cores, 8 partitions, acks=all"
Cell = dict[str, Any]


class Figure(NamedTuple):
    """One line of the table."""

    cell: str
    label: str
    unit: str
    of: Callable[[Cell], float]
    floor: Callable[[Cell], float] | None
    budget: str = ""
    """From DESIGN, on two quiet cores: "<= 2" or ">= 15000"."""
    on_kafka: str = ""
    """The same for a log on Kafka."""


def _value(who: str, name: str) -> Callable[[Cell], float]:
    return lambda cell: cell[who][name]


def _log_bytes(cell: Cell) -> float:
    return cell["log_bytes_per_step"]


def _both(cell: str, label: str, unit: str, name: str, budget: str = "", on_kafka: str = "") -> Figure:
    return Figure(cell, label, unit, _value("engine", name), _value("floor", name), budget, on_kafka)


FIGURES = (
    _both("W1", "p50", "ms", "p50_ms"),
    _both("W1", "p99", "ms", "p99_ms"),
    _both("W2", "p50", "ms", "p50_ms", "<= 2", "<= 5"),
    _both("W2", "p99", "ms", "p99_ms"),
    _both("W3", "p50", "ms", "p50_ms", "<= 15", "<= 15"),
    _both("W3", "p99", "ms", "p99_ms"),
    _both("W2x200", "throughput", "steps/s", "steps_per_s", ">= 15000", ">= 12000"),
    _both("W2x200", "CPU per 1,000 steps", "s", "cpu_s_per_1000", "<= 0.10", "<= 0.11"),
    _both("W2x200", "p50", "ms", "p50_ms"),
    Figure("W2x200", "log per step", "bytes", _log_bytes, None, "<= 300", "<= 300"),
    Figure("W2x200", "entries per run", "", lambda cell: cell["entries_per_run"], None),
)


def repeat(args: argparse.Namespace, servers: str, number: int) -> dict[str, Any]:
    """One repetition in a process of its own; number 0 only warms up a broker."""
    words = [sys.executable, str(HERE / "repetition.py"), str(args.folder)]
    words += ["--quick"] * (args.quick or not number) + ["--two-processes"] * args.two_processes
    words += ["--floor-first"] * ((number + 1) % 2)
    words += ["--kafka", servers] if servers else []
    began, before = perf_counter(), load()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"repetition {number} failed")
    name = f"repetition {number}" if number else "to warm up"
    print(f"{name}: {perf_counter() - began:.1f} s, load {before} to {load()}", file=sys.stderr)
    return {"load": [before, load()], **json.loads(done.stdout)}


@contextmanager
def place(args: argparse.Namespace) -> Iterator[str]:
    """Where is measured: the bootstrap servers of a broker that is warm, or "" for the embedded log."""
    if args.kafka is None:
        yield ""
        return
    with broker(args.kafka, args.folder) as servers:
        repeat(args, servers, 0)
        yield servers


def summary(repetitions: list[dict[str, Any]], *, kafka: bool) -> list[dict[str, Any]]:
    """Each figure over all repetitions; a ratio is that of one repetition to its own floor."""
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        cells = [repetition["cells"][figure.cell] for repetition in repetitions]
        row: dict[str, Any] = {"cell": figure.cell, "figure": figure.label, "unit": figure.unit}
        row |= {
            "budget": figure.on_kafka if kafka else figure.budget,
            "engine": spread_of(map(figure.of, cells)),
        }
        if figure.floor is not None:
            floor = figure.floor
            row["floor"] = spread_of(map(floor, cells))
            row["ratio"] = spread_of(figure.of(cell) / floor(cell) for cell in cells)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test of a few seconds; its figures mean little"
    )
    parser.add_argument("--two-processes", action="store_true", help="the client in a process of its own")
    parser.add_argument("--repetitions", type=int, help="default: 5, with --quick 2")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the logs lie")
    parser.add_argument(
        "--kafka",
        nargs="?",
        const="",
        metavar="HOST:PORT",
        help="on Kafka: on a broker that infra/kafka.sh starts for this, or on the one that is named",
    )
    parser.add_argument("--out", type=Path, default=LATEST, help="where the figures go, as JSON")
    args = parser.parse_args()
    count = args.repetitions or (2 if args.quick else 5)
    machine, before = described(args.folder), load()
    with place(args) as servers:
        repetitions = [repeat(args, servers, number) for number in range(1, count + 1)]
    result = {
        "machine": machine,
        "load": {"before": before, "after": load()},
        "log": ON_FILE if args.kafka is None else ON_KAFKA if not args.kafka else f"Kafka at {args.kafka}",
        "two_processes": args.two_processes,
        "quick": args.quick,
        "summary": summary(repetitions, kafka=args.kafka is not None),
        "repetitions": repetitions,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1, default=Spread._asdict) + "\n")
    print(printed(result, WHAT))
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
