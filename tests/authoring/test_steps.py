"""Options that are declared with a function, and those given where it is used."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from perdure.authoring.retry import Retry
from perdure.authoring.steps import DEFAULT_OPTIONS, StepOptions, make_options, options_of, step
from perdure.errors import UsageError


@step(retries=2, timeout="30s", heartbeat="5s", executor="process")
async def charge(amount: int) -> str:
    return f"charged {amount}"


class Mailer:
    @step(timeout=1)
    def send(self) -> None: ...

    def other(self) -> None: ...


def test_a_declared_step_is_still_the_function() -> None:
    assert charge.__name__ == "charge"
    with pytest.raises(StopIteration, match="charged 3"):
        charge(3).send(None)


@pytest.mark.parametrize("fn", [charge, functools.partial(charge, 3)])
def test_the_options_are_found(fn: Any) -> None:
    assert options_of(fn) == StepOptions(Retry(limit=2), 30_000_000, 5_000_000, "process")


def test_the_options_of_a_method_are_found() -> None:
    assert options_of(Mailer().send).timeout_us == 1_000_000
    assert options_of(functools.partial(Mailer().send)).timeout_us == 1_000_000


@pytest.mark.parametrize("fn", [Mailer().other, len, lambda: 1, Mailer])
def test_a_function_without_options_has_the_defaults(fn: Any) -> None:
    assert options_of(fn) is DEFAULT_OPTIONS


def test_without_parentheses() -> None:
    @step
    def plain() -> None: ...

    assert options_of(plain) == DEFAULT_OPTIONS


def test_what_is_said_at_the_place_of_use_wins_option_by_option() -> None:
    here = make_options(timeout="1s", retries=0)
    assert here.over(options_of(charge)) == StepOptions(Retry(limit=0), 1_000_000, 5_000_000, "process")
    assert here.over(DEFAULT_OPTIONS) is here


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": -1}, "timeout=-1: the duration -1 is negative"),
        ({"timeout": 0}, "timeout=0 would stop each attempt at once"),
        ({"heartbeat": "soon"}, "heartbeat='soon': 'soon' is not a duration"),
        ({"executor": "gpu"}, 'executor=\'gpu\'; use "thread" or "process"'),
        ({"retries": 1, "retry": Retry()}, "has both retries= and retry="),
        ({"retry": 3}, "write retries=3"),
        ({"retries": -1}, "use 0 to 10000"),
    ],
)
def test_options_out_of_range_name_the_function(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):

        @step(**options)
        def work() -> None: ...


def test_misuse_of_the_decorator() -> None:
    wrong: Any = step
    with pytest.raises(UsageError, match=r"@step takes keywords only: @step\(retries=3\)"):
        wrong(3)
    with pytest.raises(UsageError, match="a builtin_function_or_method holds no options; wrap it in a def"):
        step(timeout=1)(len)
