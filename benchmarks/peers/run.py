"""Measures W1 to W3 on perdure and on its peers, in turn on the same machine: `make bench-peers`.

README.md says what each peer is set to, and how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from broker import broker  # noqa: E402
from machine import Others, described  # noqa: E402
from plot import svg  # noqa: E402
from servers import Missing, no_server, postgres, redis, restate  # noqa: E402
from table import columns, number, spread_of  # noqa: E402

VENV = HERE / ".venv"
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
RESULTS = HERE.parent / "results"
KEPT = HERE.parent / "figures" / "peers.json"
PICTURE = HERE.parent.parent / "docs" / "peers.svg"
FIGURES = (
    ("W1", "p50_ms", "ms"),
    ("W1", "p99_ms", "ms"),
    ("W2", "p50_ms", "ms"),
    ("W2", "p99_ms", "ms"),
    ("W3", "p50_ms", "ms"),
    ("W3", "p99_ms", "ms"),
    ("W2x200", "steps_per_s", "steps/s"),
)
SYSTEM_S = 300
"""After so long a system that does not end is left out of the repetition."""


class System(NamedTuple):
    """One of those that are compared."""

    name: str
    script: str
    server: Callable[[Path], AbstractContextManager[str]]
    url: str = "{}"
    """Made from what the server's context gives."""


def kafka(folder: Path) -> AbstractContextManager[str]:
    return broker("", folder)


OWN = "with_perdure.py"
"""It runs in the project's venv."""
SYSTEMS = (
    System("perdure on SQLite", OWN, no_server, "sqlite:///{}/log.db?synchronous=full"),
    System("perdure on Kafka", OWN, kafka, "kafka://{}/peers?create=8"),
    System("DBOS on SQLite", "with_dbos.py", no_server, "sqlite:///{}/dbos.sqlite"),
    System("DBOS on PostgreSQL", "with_dbos.py", postgres),
    System("Restate", "with_restate.py", restate),
    System("Celery on Redis", "with_celery.py", redis),
)


def set_up() -> None:
    """The peers' venv, and Restate's server: neither has to do with the project's own."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = VENV / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"setting up {VENV}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [VENV / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    if not (HERE / "node_modules").exists() and (npm := shutil.which("npm")) is not None:
        words = [
            npm,
            "install",
            "--silent",
            "--no-save",
            "--no-package-lock",
            "--prefix",
            str(HERE),
            RESTATE_SERVER,
        ]
        subprocess.run(words, check=False)


def measure(system: System, quick: bool, folder: Path) -> dict[str, Any]:
    """One system, once: a server with fresh data and a fresh process. Raises Missing."""
    python = sys.executable if system.script == OWN else str(VENV / "bin" / "python")
    place = Path(tempfile.mkdtemp(prefix="perdure-bench-peers-", dir=folder))
    try:
        with system.server(place) as given:
            words = [python, system.script, system.url.format(given), *(["--quick"] if quick else [])]
            paths = [str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
            done = subprocess.run(
                words,
                cwd=HERE / "systems",
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                stdout=subprocess.PIPE,
                text=True,
                check=False,
                timeout=SYSTEM_S,
            )
        if done.returncode:
            raise Missing(f"{system.script} ended with {done.returncode}; what it said is above")
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise Missing(f"it did not come to its end within {SYSTEM_S} s") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def repeat(
    systems: list[System], count: int, quick: bool, folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """All of them in turn, so often; another one goes first each time. What was found, and what was not."""
    found: dict[str, list[Any]] = {system.name: [] for system in systems}
    missing: dict[str, str] = {}
    for turn in range(count):
        start = turn % len(systems)
        for system in systems[start:] + systems[:start]:
            began, others = perf_counter(), Others()
            try:
                result = measure(system, quick, folder)
            except Missing as why:
                missing[system.name] = str(why)
                print(f"{system.name}: {why}", file=sys.stderr)
                continue
            found[system.name].append(result | {"others": others.cores()})
            took = f"{perf_counter() - began:.0f} s"
            print(f"repetition {turn + 1}, {system.name}: {took}", file=sys.stderr)
    return {name: results for name, results in found.items() if results}, missing


def summary(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Each figure of each system: median, least and most of its repetitions."""
    rows: list[dict[str, Any]] = []
    for cell, figure, unit in FIGURES:
        for name, results in found.items():
            spread = spread_of(result["cells"][cell][figure] for result in results)
            rows.append({"system": name, "cell": cell, "figure": figure, "unit": unit} | spread._asdict())
    return rows


def printed(rows: list[dict[str, Any]], systems: list[str]) -> str:
    table = [("", *systems)]
    for cell, figure, unit in FIGURES:
        shown = {
            row["system"]: f"{number(row['median'])} ({number(row['min'])}..{number(row['max'])})"
            for row in rows
            if (row["cell"], row["figure"]) == (cell, figure)
        }
        label = f"{cell} {figure.partition('_')[0]}, {unit}"
        table.append((label, *(shown.get(name, "") for name in systems)))
    return columns(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="does it still run? Its figures mean little")
    parser.add_argument("--repetitions", type=int, help="default: 3, with --quick 1")
    parser.add_argument(
        "--only", nargs="*", default=[], help="systems whose names have one of these words in them"
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data lie")
    parser.add_argument(
        "--keep", action="store_true", help="into figures/, and the plot into docs/, for the README"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "peers.json", help="the plot goes beside it")
    args = parser.parse_args()
    chosen = [
        s for s in SYSTEMS if not args.only or any(word.lower() in s.name.lower() for word in args.only)
    ]
    if any(system.script != OWN for system in chosen):
        set_up()
    machine = described(args.folder)
    count = args.repetitions or (1 if args.quick else 3)
    found, missing = repeat(chosen, count, args.quick, args.folder)
    rows = summary(found)
    result = {
        "machine": machine,
        "quick": args.quick,
        "repetitions": count,
        "settings": {
            name: f"{results[0]['version']}: {results[0]['setting']}" for name, results in found.items()
        },
        "missing": missing,
        "summary": rows,
        "systems": found,
    }
    if args.keep:
        args.out = KEPT
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    picture = PICTURE if args.keep else args.out.with_suffix(".svg")
    picture.write_text(svg(rows))
    print(printed(rows, list(found)))
    print("\n".join(["", *(f"{name} {text}" for name, text in result["settings"].items())]))
    print("\n".join(f"{name} was not measured, or not each time: {why}" for name, why in missing.items()))
    print(f"{args.out}, {picture}")


if __name__ == "__main__":
    main()
