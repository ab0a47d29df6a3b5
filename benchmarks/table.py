"""Figures as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """One figure over several repetitions."""

    median: float
    min: float
    max: float


def spread_of(values: Iterable[float]) -> Spread:
    found = list(values)
    return Spread(median(found), min(found), max(found))


def number(value: float) -> str:
    """With three or four digits that mean something."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.{3 if value < 1 else 2 if value < 100 else 0}f}"


def columns(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Text in columns; the first row is the head, the first `left` columns begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{number(spread.median)} ({number(spread.min)}..{number(spread.max)})"


def held(budget: str, value: float) -> bool | None:
    """Whether a figure keeps to its budget; None when it has none."""
    if not budget:
        return None
    sign, bound = budget.split()
    return value <= float(bound) if sign == "<=" else value >= float(bound)


def _verdict(budget: str, value: float) -> str:
    return f"{budget} {'ok' if held(budget, value) else 'MISSED'}" if budget else ""


def printed(result: Mapping[str, Any], what: Mapping[str, str]) -> str:
    """The whole result as text."""
    machine, loads = result["machine"], result["load"]
    rows = [("", "perdure", "floor", "ratio", "budget")]
    for row in result["summary"]:
        label = f"{row['cell']} {row['figure']}" + (f", {row['unit']}" if row["unit"] else "")
        engine: Spread = row["engine"]
        shown = (_spread(engine), _spread(row.get("floor")), _spread(row.get("ratio")))
        rows.append((label, *shown, _verdict(row["budget"], engine.median)))
    processes = "client and worker in two processes" if result["two_processes"] else "one process"
    changed = " with changes" if machine["changed"] else ""
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['file_system']}"
    code = f"commit {machine['commit']}{changed}, {machine['date']}"
    shown = f"load {loads['before']} before, {loads['after']} after"
    counts = Counter(one["part"] for one in result["repetitions"])
    head = [
        f"{place}; Python {machine['python']}, SQLite {machine['sqlite']}; {code}",
        f"{result['log']}, {processes}; {shown}",
        "median (min..max) of the repetitions, each a fresh process and log",
        *(f"{part}: {text}; {counts[part]} repetitions" for part, text in what.items()),
    ]
    return "\n".join(head) + "\n\n" + columns(rows)
