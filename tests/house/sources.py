"""The files of the project, read once: what the laws of this folder are held against."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MADE_BY_TOOLS = {"__pycache__", "build", "dist", "node_modules"}
_TEXT_BYTES_MAX = 2_000_000


@dataclass(frozen=True)
class Source:
    """One text file: its path from the root of the project, and what stands in it."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the file's syntax tree; none for a file that is not Python."""
        return list(ast.walk(ast.parse(self.text, self.path))) if self.is_python else []


@cache
def sources() -> tuple[Source, ...]:
    """Every text file, hidden folders left out except `.ci`."""
    return tuple(_read(ROOT))


def _read(root: Path) -> Iterator[Source]:
    for folder, below, names in os.walk(root):
        below[:] = sorted(d for d in below if d not in _MADE_BY_TOOLS and (d[0] != "." or d == ".ci"))
        for name in sorted(names):
            file = Path(folder, name)
            if file.stat().st_size <= _TEXT_BYTES_MAX and (text := _text(file)) is not None:
                yield Source(file.relative_to(root).as_posix(), text)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
