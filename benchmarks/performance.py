"""Writes the tables of docs/performance.md anew, from the figures that are kept in figures/: `make performance`.

The text around them is written by people. A table stands between two comments, `<!-- figures: NAME -->` and
`<!-- end -->`; NAME is the file of a log, or `endurance`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
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
    others: list[float] = kept.get("others", [])
    used = (
        f"others used {min(others):.2f} to {max(others):.2f} of them"
        if others
        else "what others used is not known"
    )
    changed = ", with changes that are not in it" if machine["changed"] else ""
    times = f"{kept['repetitions']} repetition{'s' * (kept['repetitions'] != 1)}"
    return (
        f"{times}, {machine['date'][:16].replace('T', ' ')} UTC, commit `{machine['commit']}`{changed}; "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['file_system']}, Python {machine['python']}; "
        f"{used}{remark(others or [None])}"
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


def of_peers(kept: Kept) -> str:
    """A row for each figure, a column for each system."""
    machine, names = kept["machine"], list(kept["settings"])
    others = [one["others"] for results in kept["systems"].values() for one in results]
    when = machine["date"][:16].replace("T", " ")
    head = (
        f"{kept['repetitions']} repetitions, in turn, {when} UTC, commit `{machine['commit']}`; {machine['cpu']},"
        f" {machine['cores']} cores, {machine['file_system']}; others used {max(others):.2f} of them at"
        f" most{remark(others)}."
    )
    lines = [
        head,
        "",
        f"| | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    rows: dict[str, dict[str, str]] = {}
    for row in kept["summary"]:
        label = f"{row['cell']} {row['figure'].partition('_')[0]}, {row['unit']}"
        rows.setdefault(label, {})[row["system"]] = spread((row["median"], row["min"], row["max"]))
    lines += [f"| {label} | {' | '.join(cells.get(n, '') for n in names)} |" for label, cells in rows.items()]
    lines += ["", *(f"- {name} {setting}" for name, setting in kept["settings"].items())]
    lines += [f"- {name} was not measured: {why}" for name, why in kept["missing"].items()]
    return "\n".join(lines) + "\n"


def filled(name: str) -> str:
    """What stands between the comments."""
    file = FIGURES / f"{name}.json"
    if not file.exists():
        return f"Not measured yet: {AGAIN.replace('again ', '')}.\n"
    kept = json.loads(file.read_text())
    if name == "peers":
        return of_peers(kept)
    if name.startswith(("endurance", "size")):
        module = import_module(name.partition("_")[0])
        return module.as_markdown(kept)
    return "\n".join(of_a_log(kept))


def main() -> None:
    text = PAGE.read_text()
    new = TABLE.sub(lambda found: f"{found[1]}\n{filled(found[2])}\n{found[3]}", text)
    PAGE.write_text(new)
    print(PAGE if new != text else f"{PAGE} is as it was", file=sys.stderr)


if __name__ == "__main__":
    main()
