"""Keeps a record as it is before its schema is edited: `.venv/bin/python -m tests.golden.supersede Config Snapshot`.

What was written in that form stays readable: its whole schema, with those of its parts, goes into `schemas/superseded`.
To be run for each record that has the edited schema as a part; without names, it says which those are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# From a checkout, as pytest does it: the package need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "framework"))

from perdure.core import codec


def keep(record: str) -> Path:
    """The file that was made, or was there."""
    schema = codec.schema(record)
    path = codec.schema_folder() / "superseded" / f"{codec.NAMESPACE}.{record}.{schema.prefix[2:].hex()}.avsc"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(_plain(schema.parsed), indent=2) + "\n")
    return path


def _plain(parsed: Any) -> Any:
    if isinstance(parsed, dict):
        return {name: _plain(item) for name, item in parsed.items() if not name.startswith("__")}
    return [_plain(item) for item in parsed] if isinstance(parsed, list) else parsed


def parts() -> dict[str, list[str]]:
    """The records that each schema is a part of."""
    found: dict[str, list[str]] = {}
    for record in codec.RECORDS:
        for name in codec.schema(record).parsed["__named_schemas"]:
            found.setdefault(name.removeprefix(f"{codec.NAMESPACE}."), []).append(record)
    return found


if __name__ == "__main__":
    for record in sys.argv[1:]:
        print(f"kept {keep(record).relative_to(Path.cwd())}")
    if not sys.argv[1:]:
        for part, records in sorted(parts().items()):
            print(f"{part}: {' '.join(records)}")
