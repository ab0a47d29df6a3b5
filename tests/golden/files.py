"""A golden file: JSON for people, and exact. Bytes are `{"$text": …}` or `{"$hex": …}`; unions keep their names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "records"
HEX_LINE = 96


@dataclass(frozen=True)
class Golden:
    """One value of the log, and what it says."""

    record: str
    about: str
    body: dict[str, Any]
    value: bytes


def load(path: Path) -> Golden:
    found = json.loads(path.read_text(encoding="utf-8"))
    value = bytes.fromhex("".join(found["value"]))
    return Golden(found["record"], found["about"], _from_json(found["body"]), value)


def save(path: Path, golden: Golden) -> None:
    """Writes a new file; FileExistsError when there is one."""
    digits = golden.value.hex()
    lines = [digits[start : start + HEX_LINE] for start in range(0, len(digits), HEX_LINE)]
    shown = {"record": golden.record, "about": golden.about, "body": _to_json(golden.body), "value": lines}
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        text = value.decode("ascii", "replace")
        return {"$text": text} if text.isascii() and text.isprintable() else {"$hex": value.hex()}
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$text"}:
            return value["$text"].encode("ascii")
        if value.keys() == {"$hex"}:
            return bytes.fromhex(value["$hex"])
        return {name: _from_json(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [_from_json(item) for item in value]
        member = len(items) == 2 and isinstance(items[1], dict) and str(items[0]).startswith("perdure.")
        return tuple(items) if member else items
    return value
