"""Faults at random over real processes, and what must be true all the same: `make chaos MINUTES=10 SEED=1 LOG=both`.

docs/chaos/nemesis.md says what is done and what is checked. A seed is a plan of faults; what the processes do meanwhile
is their own. Ends with 1 when a promise was broken; then the folder that is named has all there is to see.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.faults import KINDS
from tests.chaos.play import Report, play

FOLDER = Path(__file__).resolve().parents[2] / ".chaos"
BROKEN, NOT_PLAYED = 1, 2


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults, on each log")
    parser.add_argument("--seed", type=int, help="by default one that is drawn, and printed")
    parser.add_argument("--log", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where logs, ledgers and reports lie")
    parser.add_argument("--keep", action="store_true", help="keep everything, although nothing was broken")
    args = parser.parse_args(words)
    seed = random.randrange(1_000_000) if args.seed is None else args.seed
    reports: list[Report] = []
    for log in KINDS if args.log == "both" else [args.log]:
        folder = args.folder / f"{log}-{seed}"
        print(f"{log}: seed {seed}, {args.minutes:g} minutes, in {folder}", flush=True)
        try:
            report = play(log, seed, args.minutes * 60, folder, lambda text: print(text, flush=True))
        except pytest.skip.Exception as reason:  # there is no broker to be had
            print(f"{log}: not played: {reason}")
            return NOT_PLAYED
        reports.append(report)
        print(report.text(), flush=True)
        if report.violations:
            print(f"  kept in {folder}; again: make chaos LOG={log} SEED={seed} MINUTES={args.minutes:g}")
        elif not args.keep:
            shutil.copy(folder / "report.json", args.folder / f"{log}-{seed}.json")
            shutil.rmtree(folder)
    return BROKEN if any(report.violations for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
