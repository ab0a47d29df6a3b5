"""Measures the engine on the embedded log against the log's own floor: `make bench`. README.md says how to read it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from machine import described, load
from table import Spread, printed, spread_of
from workloads import WHAT

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
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


def _value(who: str, name: str) -> Callable[[Cell], float]:
    return lambda cell: cell[who][name]


def _both(cell: str, label: str, unit: str, name: str, budget: str = "") -> Figure:
    return Figure(cell, label, unit, _value("engine", name), _value("floor", name), budget)


FIGURES = (
    _both("W1", "p50", "ms", "p50_ms"),
    _both("W1", "p99", "ms", "p99_ms"),
    _both("W2", "p50", "ms", "p50_ms", "<= 2"),
    _both("W2", "p99", "ms", "p99_ms"),
    _both("W3", "p50", "ms", "p50_ms", "<= 15"),
    _both("W3", "p99", "ms", "p99_ms"),
    _both("W2x200", "throughput", "steps/s", "steps_per_s", ">= 15000"),
    _both("W2x200", "CPU per 1,000 steps", "s", "cpu_s_per_1000", "<= 0.10"),
    _both("W2x200", "p50", "ms", "p50_ms"),
    Figure("W2x200", "log per step", "bytes", lambda cell: cell["log_bytes_per_step"], None, "<= 300"),
    Figure("W2x200", "entries per run", "", lambda cell: cell["entries_per_run"], None),
)


def repeat(args: argparse.Namespace, number: int) -> dict[str, Any]:
    """One repetition in a process of its own."""
    words = [sys.executable, str(HERE / "repetition.py"), str(args.folder)]
    words += ["--quick"] * args.quick + ["--two-processes"] * args.two_processes
    words += ["--floor-first"] * (number % 2)
    began, before = perf_counter(), load()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"repetition {number + 1} failed")
    print(
        f"repetition {number + 1}: {perf_counter() - began:.1f} s, load {before} to {load()}", file=sys.stderr
    )
    return {"load": [before, load()], **json.loads(done.stdout)}


def summary(repetitions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each figure over all repetitions; a ratio is that of one repetition to its own floor."""
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        cells = [repetition["cells"][figure.cell] for repetition in repetitions]
        row: dict[str, Any] = {"cell": figure.cell, "figure": figure.label, "unit": figure.unit}
        row |= {"budget": figure.budget, "engine": spread_of(map(figure.of, cells))}
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
    parser.add_argument("--out", type=Path, default=LATEST, help="where the figures go, as JSON")
    args = parser.parse_args()
    count = args.repetitions or (2 if args.quick else 5)
    machine, before = described(args.folder), load()
    repetitions = [repeat(args, number) for number in range(count)]
    result = {
        "machine": machine,
        "load": {"before": before, "after": load()},
        "two_processes": args.two_processes,
        "quick": args.quick,
        "summary": summary(repetitions),
        "repetitions": repetitions,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1, default=Spread._asdict) + "\n")
    print(printed(result, WHAT))
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
