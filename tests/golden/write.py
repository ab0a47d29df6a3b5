"""Writes the golden files that are missing: `.venv/bin/python -m tests.golden.write`. Never overwrites one."""

from __future__ import annotations

import sys
from pathlib import Path

# From a checkout, as pytest does it: the package need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "framework"))

from perdure.core import codec
from tests.golden.files import FOLDER, Golden, save
from tests.golden.samples import samples


def write_missing() -> list[Path]:
    """The files that were made."""
    FOLDER.mkdir(exist_ok=True)
    made: list[Path] = []
    for name, (record, about, body) in samples().items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            save(path, Golden(record, about, body, codec.encode(record, body)))
            made.append(path)
    return made


if __name__ == "__main__":
    for path in write_missing():
        print(f"wrote {path.relative_to(Path.cwd())}")
