"""The judge of these tests is judged: what breaks a promise does not pass it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.crash import ledger, verdict
from tests.crash.ledger import Line
from tests.crash.lives import ends_of
from tests.crash.processes import Place

ITEMS = [("sequence", 3), ("retry", 2)]
Lines = list[Line]


def begin_again(lines: Lines) -> Lines:
    """The first step is executed once more after everything is over."""
    return [*lines, replace(lines[0], at=lines[-1].at + 1_000_000)]


def begin_twice(lines: Lines) -> Lines:
    return [lines[0], *lines]


def other_arguments(lines: Lines) -> Lines:
    return [replace(lines[0], args="other"), *lines[1:]]


def never_done(lines: Lines) -> Lines:
    return [line for line in lines if not (line.key == lines[0].key and line.what == "end")]


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (begin_again, "executed again after its outcome was recorded"),
        (begin_twice, "executed 2 times after 0 kills"),
        (other_arguments, "executed with different arguments"),
        (never_done, "recorded as done and never was"),
    ],
)
def test_a_ledger_that_breaks_a_promise_is_found(
    place: Callable[..., Place], planted: Callable[[Lines], Lines], found: str
) -> None:
    here = place()
    assert here.start("whole", items=ITEMS).wait() == 0
    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    verdict.check(story, lines, ends_of(ITEMS), kills=0)
    with pytest.raises(AssertionError, match=found):
        verdict.check(story, planted(lines), ends_of(ITEMS), kills=0)


def test_runs_that_are_missing_or_too_many_are_found(place: Callable[..., Place]) -> None:
    here = place()
    assert here.start("whole", items=ITEMS).wait() == 0
    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    for wanted in (ends_of(ITEMS[:1]), ends_of([*ITEMS, ("sleep", 1)])):
        with pytest.raises(AssertionError, match="ended otherwise"):
            verdict.check(story, lines, wanted, kills=0)
    assert not story.faults
    (run, key) = next(iter(story.settled))
    story._note(run, "perdure.StepDone", {"key": key}, 0)
    with pytest.raises(AssertionError, match="two outcomes"):
        verdict.check(story, lines, ends_of(ITEMS), kills=0)
