"""Imports point downwards, and in no circle: pyproject.toml has the layers, ARCHITECTURE.md the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.house.sources import ROOT

PACKAGES = ("perdure", "perdure_connectors")


def test_import_linter_keeps_its_contracts() -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "framework"), str(ROOT / "connectors")])}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.fail(f"an import points upwards or sideways:\n{done.stdout}{done.stderr}", pytrace=False)


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    cycle = _cycle({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    assert not cycle, f"import cycle: {' ← '.join(cycle)}. Move what both need below both."


def _cycle(imports: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_a_cycle_would_be_found() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
