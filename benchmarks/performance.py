"""Writes the tables of docs/performance.md anew, from the figures that are kept in figures/: `make performance`.

The text around them is written by people. A table stands between two comments, `<!-- figures: NAME -->` and
`<!-- end -->`; NAME is the file of a log, or `endurance`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from machine import AGAIN, ROOT, remark
from parts import PARTS
from table import held, number

PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "benchmarks" / "figures"
TABLE = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Kept = dict[str, Any]


def spread(of: Sequence[float] | None) -> str:
    """Median and, in small, from where to where."""
    if of is None:
        return ""
    median, least, most = of
    return number(median) if least == most else f"{number(median)} ({number(least)}..{number(most)})"


def how(kept: Kept) -> str:
    """When, how often and on what."""
    machine = kept["machine"]
    loads = [load for pair in kept["loads"] for load in pair]
    changed = ", with changes that are not in it" if machine["changed"] else ""
    times = f"{kept['repetitions']} repetition{'s' * (kept['repetitions'] != 1)}"
    return (
        f"{times}, {machine['date'][:16].replace('T', ' ')} UTC, commit `{machine['commit']}`{changed}; "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['file_system']}, Python {machine['python']}; "
        f"load {min(loads):g} to {max(loads):g}{remark(before for before, _ in kept['loads'])}"
    )


def of_a_log(kept: dict[str, Kept]) -> Iterator[str]:
    """One table for each part."""
    for name, part in PARTS.items():
        if name not in kept:
            continue
        rows = kept[name]["rows"]
        floors = any("floor" in row for row in rows)
        yield f"**`{name}`**: {part.what}. {how(kept[name])}."
        yield ""
        yield "| | budget | perdure |" + (" floor | ratio |" if floors else "")
        yield "|---|---|---|" + ("---|---|" if floors else "")
        for row in rows:
            unit = f", {row['unit']}" if row["unit"] else ""
            label = f"{row['cell']}: {row['figure']}{unit}"
            verdict = held(row["budget"], row["engine"][0])
            measured = f"{spread(row['engine'])}{' **missed**' if verdict is False else ''}"
            budget = row["budget"].replace("<=", "≤").replace(">=", "≥")
            line = f"| {label} | {budget} | {measured} |"
            yield line + (f" {spread(row.get('floor'))} | {spread(row.get('ratio'))} |" if floors else "")
        yield ""


def filled(name: str) -> str:
    """What stands between the comments."""
    file = FIGURES / f"{name}.json"
    if not file.exists():
        return f"Not measured yet: {AGAIN.replace('again ', '')}.\n"
    kept = json.loads(file.read_text())
    if name.startswith("endurance"):
        from endurance import as_markdown

        return as_markdown(kept)
    return "\n".join(of_a_log(kept))


def main() -> None:
    text = PAGE.read_text()
    new = TABLE.sub(lambda found: f"{found[1]}\n{filled(found[2])}\n{found[3]}", text)
    PAGE.write_text(new)
    print(PAGE if new != text else f"{PAGE} is as it was", file=sys.stderr)


if __name__ == "__main__":
    main()
