"""Steps that may have killed their worker, beside bodies that may have (A8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.core.facts import Fact
from perdure.engine.suspects import NOBODY, Suspects

pytestmark = pytest.mark.asyncio


class Life:
    """A claim whose notes are read back when the test says so."""

    def __init__(self) -> None:
        self.acting = True
        self.notes: list[Any] = []
        self._unread: list[Callable[[Any, str | None], None]] = []

    def append(
        self, name: str, body: dict[str, Any], on_read: Callable[[Fact, str | None], None], *, key: str = ""
    ) -> object:
        self.notes.append(body["steps"])
        self._unread.append(on_read)
        return True

    def read(self) -> None:
        unread, self._unread = self._unread, []
        for on_read in unread:
            on_read(None, None)


def started(suspects: Suspects, life: Life) -> list[str]:
    """A suspect that runs alone."""
    told: list[str] = []
    suspects.admit(life, "r", "/step", lambda: told.append("step"))
    life.read()
    assert told == ["step"]
    return told


async def test_A8_a_suspect_that_runs_is_let_off_before_bodies_are_tried() -> None:
    suspects, life, other = Suspects(), Life(), Life()
    told = started(suspects, life)
    suspects.hold(other, lambda: told.append("trial"))
    assert told == ["step"]
    assert life.notes[-1] == [NOBODY]
    life.read()
    assert told == ["step", "trial"]


async def test_A8_a_trial_begins_when_nobody_is_left_to_read_that_note() -> None:
    suspects, life, other = Suspects(), Life(), Life()
    told = started(suspects, life)
    suspects.hold(other, lambda: told.append("trial"))
    suspects.drop(life)
    assert told == ["step", "trial"]
    life.read()
    assert told == ["step", "trial"]


async def test_A8_a_trial_that_is_over_before_the_note_is_read_does_not_begin() -> None:
    suspects, life, other, third = Suspects(), Life(), Life(), Life()
    told = started(suspects, life)
    suspects.hold(other, lambda: told.append("trial"))
    suspects.hold(third, lambda: told.append("third"))
    suspects.drop(other)
    life.read()
    assert told == ["step", "third"]


async def test_A8_the_next_suspect_is_alone_again_when_the_trials_are_over() -> None:
    suspects, life, other = Suspects(), Life(), Life()
    told = started(suspects, life)
    suspects.hold(other, lambda: None)
    life.read()
    suspects.admit(life, "r", "/next", lambda: told.append("next"))
    suspects.finished("r", "/step")
    assert told == ["step"]
    suspects.release(other)
    await asyncio.sleep(0)
    assert life.notes[-1] == [{"run": "r", "key": "/next", "alone": True}]
    life.read()
    assert told == ["step", "next"]
    suspects.hold(other, lambda: told.append("trial"))
    assert life.notes[-1] == [NOBODY]
