"""Help that teaches, and a start that is quick."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from perdure.cli.root import app
from tests.cli.terminal import environ


def _paths() -> list[tuple[str, ...]]:
    root: Any = get_command(app)
    found: list[tuple[str, ...]] = []
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found += [(name,)] if inner is None else [(name, below) for below in inner]
    return found


PATHS = _paths()


def test_the_commands() -> None:
    assert sorted(" ".join(path) for path in PATHS) == [
        *("dead-letters list", "dead-letters redrive", "dead-letters show"),
        *("dev", "doctor", "events list", "events send"),
        *(
            "functions limits",
            "functions list",
            "functions pause",
            "functions reset-limits",
            "functions resume",
        ),
        "functions set-limit",
        *(
            "runs cancel",
            "runs list",
            "runs pause",
            "runs rerun",
            "runs resume",
            "runs show",
            "runs signal",
            "runs start",
            "schedules create",
            "schedules delete",
            "schedules list",
            "schedules pause",
            "schedules resume",
            "schedules trigger",
            "schemas check",
            "schemas register",
            "topics check",
            "topics create",
            "topics grow",
            "worker",
        ),
    ]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_each_command_has_an_example_of_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert not re.search("<[a-z]", shown.output), "types of Python are not for people who type commands"
    assert f"perdure {' '.join(path)}" in " ".join(shown.output.split("Example", 1)[1].split())


def test_alone_it_shows_its_help() -> None:
    shown = CliRunner().invoke(app, [])
    assert (shown.exit_code, "perdure dev shop.py:app" in shown.output) == (0, True)
    assert CliRunner().invoke(app, ["--version"]).output.startswith("perdure ")


@pytest.mark.parametrize(
    "words", [["rums"], ["runs", "lsit"], ["runs", "show"], ["dev"], ["doctor", "--lgo", "x"]]
)
def test_what_is_written_wrong_has_exit_code_2(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_help_loads_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys, perdure; before = set(sys.modules); import perdure.cli.root\n"
        "heavy = ('perdure.', 'watchfiles', 'rich.table')\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith(heavy)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ(), capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == [
        *("perdure.cli", "perdure.cli.cancelling", "perdure.cli.choosing", "perdure.cli.commands"),
        *("perdure.cli.deployed", "perdure.cli.doctor", "perdure.cli.events"),
        *(
            "perdure.cli.functions",
            "perdure.cli.letters",
            "perdure.cli.limiting",
            "perdure.cli.many",
            "perdure.cli.options",
            "perdure.cli.pausing",
            "perdure.cli.repeating",
            "perdure.cli.root",
            "perdure.cli.running",
        ),
        *(
            "perdure.cli.runs",
            "perdure.cli.schedules",
            "perdure.cli.schemas",
            "perdure.cli.steering",
            "perdure.cli.topics",
        ),
    ]
