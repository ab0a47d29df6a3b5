"""docs/promises.md and docs/vocabulary.md name tests that exist, for each promise."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.house.sources import ROOT

PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
VOCABULARY = (ROOT / "docs" / "vocabulary.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([\w-]+)\])?`")
CHAPTERS = (
    "App, events, functions",
    "Starting and steering",
    "Steps",
    "Errors and retries",
    "Cron and delays",
    "Flow control",
    "Payloads",
    "Killed in the middle, and on real brokers",
    "Patterns",
)


@cache
def source(path: str) -> str:
    found = ROOT / path
    return found.read_text(encoding="utf-8") if found.exists() else ""


@cache
def defined_in(path: str) -> frozenset[str]:
    body = ast.parse(source(path)).body
    named = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(name for name in named if name.startswith("test_"))


def is_there(path: str, name: str, case: str) -> bool:
    """`case` is a scenario of the crash tests, or a parameter that the file itself has."""
    cases = source(path) + source("tests/crash/scenarios.py")
    return name in defined_in(path) and (not case or f'"{case}"' in cases)


@pytest.mark.parametrize(
    ("page", "least"), [(PROMISES, 50), (VOCABULARY, 200)], ids=["promises", "vocabulary"]
)
def test_every_test_that_a_page_names_is_there(page: str, least: int) -> None:
    named = NAMED.findall(page)
    assert len(named) > least
    assert len(named) == len(re.findall(r"`tests/[^`]*::[^`]*`", page)), "each is written so that it is found"
    assert [f"{path}::{name}[{case}]" for path, name, case in named if not is_there(path, name, case)] == []


def test_each_promise_is_held_by_tests() -> None:
    chapters = PROMISES.split("\n## ")[1:]
    assert [chapter[:2] for chapter in chapters[:8]] == [f"{n}." for n in range(1, 9)]
    assert all(chapter.count("- `tests/") >= 3 for chapter in chapters[:8])


def test_each_row_of_the_vocabulary_has_a_test_or_says_that_it_is_missing() -> None:
    chapters = VOCABULARY.split("\n## ")[1:]
    assert tuple(chapter.partition("\n")[0] for chapter in chapters) == CHAPTERS
    for chapter in chapters:
        head, _, *rows = [line for line in chapter.splitlines() if line.startswith("|")]
        assert len(rows) > 5
        for row in rows:
            cells = row.strip("|").split(" | ")
            assert len(cells) == len(head.strip("|").split(" | ")), row
            assert all("`tests/" in cell or "**missing**" in cell or "above" in cell for cell in cells[1:]), (
                row
            )
