"""docs/promises.md names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "promises.md"


def test_every_test_that_the_promises_name_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^- `(tests/[\w/]+\.py)::(test_\w+)`$", text, flags=re.MULTILINE)
    assert len(named) > 50
    defined: dict[str, set[str]] = {}
    for path, _ in named:
        if path not in defined and (ROOT / path).exists():
            body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
            defined[path] = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert [f"{path}::{name}" for path, name in named if name not in defined.get(path, set())] == []


def test_each_promise_is_held_by_tests() -> None:
    chapters = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    assert [chapter[:2] for chapter in chapters[:8]] == [f"{n}." for n in range(1, 9)]
    assert all(chapter.count("- `tests/") >= 3 for chapter in chapters[:8])
