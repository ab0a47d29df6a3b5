"""The house is tidy: every law of `laws.py` holds for every file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.laws import LAWS, MAY_SLEEP, Law
from tests.house.sources import ROOT, sources

each_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name.replace(" ", "-"))


@each_law
def test_law(law: Law) -> None:
    breaches = [
        f"  {source.path}:{line}: {what}"
        for source in sources()
        if law.holds_for(source.path)
        for line, what in law.find(source)
    ]
    assert not breaches, "\n".join([f"{law.name}. {law.advice}", *breaches])


@each_law
def test_law_can_be_broken(law: Law) -> None:
    assert law.holds_for(law.example.path), f"{law.name}: its example lies where the law does not hold"
    assert list(law.find(law.example)), f"{law.name}: it does not find its own example"


def test_the_files_are_found() -> None:
    paths = {source.path for source in sources()}
    assert {"Makefile", ".ci/run", "framework/perdure/errors.py", "tests/house/test_tidy.py"} <= paths
    assert not [path for path in paths if path.startswith((".git/", ".venv/"))]


def test_allowed_sleeps_are_still_there() -> None:
    gone = [path for path in MAY_SLEEP if not Path(ROOT, path).exists()]
    assert not gone, f"MAY_SLEEP in tests/house/laws.py names files that are gone: {gone}"
