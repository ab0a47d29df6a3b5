"""Writes the histories that are missing for the Python that runs it: `python -m tests.golden.histories_write`.

Never overwrites one. Run it with each minor version that perdure supports when there is a new program, and with a new
minor version for all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

# From a checkout, as pytest does it: the package need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "framework"))

from tests.execution.programs import PROGRAMS
from tests.golden import histories


def write_missing() -> list[Path]:
    """The files that were made."""
    made: list[Path] = []
    for program in PROGRAMS:
        path = histories.place(program)
        if not path.exists():
            save(path, histories.recorded(program))
            made.append(path)
    return made


def save(path: Path, text: str) -> None:
    """Writes a new file; FileExistsError when there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    made = write_missing()
    for path in made:
        print(f"wrote {path.relative_to(Path.cwd())}")
    print(f"kept {len(PROGRAMS) - len(made)} that were there: old histories are what old logs look like")
