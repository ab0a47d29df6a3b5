"""Exceptions as they are recorded and rebuilt, and the outcomes of attempts."""

from __future__ import annotations

import contextvars
import functools
import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from perdure.authoring.payloads import codec_for
from perdure.authoring.steps import StepOptions
from perdure.core.limits import Limits
from perdure.errors import NonRetriableError, RetryAfterError, UsageError
from perdure.execution import Attempt, Context
from perdure.execution.failures import failure_of, rebuilt, step_error
from perdure.execution.outcome import raised, returned
from tests.execution.harness import Driver, work


class CardDeclined(Exception):
    constructed = 0

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        cls.constructed += 1
        return super().__new__(cls)

    def __init__(self, card: str, *, code: int) -> None:
        super().__init__(f"{card} {code}")
        type(self).constructed += 1

    class Nested(ValueError):
        pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Loud(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class NoText(Exception):
    def __str__(self) -> Any:
        return 3  # noqa: PLE0307


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as found:
        return found


# --- recording --------------------------------------------------------------------------------------------------------


def test_names_of_classes() -> None:
    assert failure_of(ValueError("x"))["type"] == "ValueError"
    assert failure_of(CardDeclined("c", code=1))["type"] == f"{__name__}.CardDeclined"
    assert failure_of(CardDeclined.Nested("x"))["type"] == f"{__name__}.CardDeclined.Nested"


@pytest.mark.parametrize("error", [Unprintable(), NoText("x")])
def test_what_cannot_be_printed_is_recorded_all_the_same(error: Exception) -> None:
    failure = failure_of(caught(error))
    assert failure["message"] == f"<a {type(error).__name__} that cannot be printed>"
    assert "test_failures.py" in failure["traceback"]


def test_text_is_valid_utf8_and_bounded() -> None:
    failure = failure_of(caught(ValueError("\ud800" + "ö" * 10_000)), traceback_bytes_max=500)
    assert failure["message"].startswith("\\ud800")
    assert len(failure["message"].encode()) <= 4 * 1024
    assert len(failure["traceback"].encode()) <= 500
    assert failure["traceback"].startswith("…")


def test_deep_recursion_and_chains() -> None:
    def deep(n: int) -> None:
        deep(n + 1)

    try:
        deep(0)
    except RecursionError as error:
        failure = failure_of(error)
        assert len(failure["traceback"]) < 8 * 1024 + 1
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert "ValueError: 1" in failure_of(first)["traceback"]


def test_groups() -> None:
    error = caught(ExceptionGroup("many", [ValueError(str(i)) for i in range(100)]))
    failure = failure_of(error)
    assert failure["type"] == "ExceptionGroup"
    assert len(failure["traceback"]) <= 8 * 1024 + 1


# --- rebuilding -------------------------------------------------------------------------------------------------------


def failure(kind: str, message: str = "m") -> Any:
    return {"type": kind, "message": message, "traceback": "", "data": ""}


@pytest.mark.parametrize(
    "kind",
    ["ValueError", "KeyError", "OSError", "TimeoutError", "json.decoder.JSONDecodeError", "ExceptionGroup"],
)
def test_loaded_classes_are_rebuilt_or_left(kind: str) -> None:
    error = rebuilt(failure(kind))
    if kind == "ExceptionGroup":
        assert error is None
    else:
        assert error is not None
        assert type(error).__name__ == kind.rpartition(".")[2]
        assert error.args == ("m",)


def test_no_code_of_the_class_runs() -> None:
    CardDeclined.constructed = 0
    error = rebuilt(failure(f"{__name__}.CardDeclined"))
    assert isinstance(error, CardDeclined)
    assert str(error) == "m"
    assert CardDeclined.constructed == 0
    assert isinstance(rebuilt(failure(f"{__name__}.CardDeclined.Nested")), CardDeclined.Nested)


@pytest.mark.parametrize(
    "kind",
    [
        "",
        ".",
        "os.system",
        "sys",
        "builtins.int",
        "KeyboardInterrupt",
        "SystemExit",
        "BaseException",
        "this_is_not_loaded.Boom",
        f"{__name__}.test_groups.<locals>.X",
        "os.path.join.__class__",
        "NoSuchError",
        "wave.Error",
    ],
)
def test_what_is_not_loaded_or_no_exception_is_not_rebuilt(kind: str) -> None:
    sys.modules.pop("wave", None)
    before = set(sys.modules)
    assert rebuilt(failure(kind)) is None
    assert set(sys.modules) == before


def test_a_module_that_imports_by_getattr_is_not_asked() -> None:
    module = types.ModuleType("lazy_module_of_a_test")
    asked: list[str] = []
    module.__getattr__ = lambda name: asked.append(name) or ValueError
    sys.modules[module.__name__] = module
    try:
        assert rebuilt(failure(f"{module.__name__}.Lazy")) is None
    finally:
        del sys.modules[module.__name__]
    assert asked == []


def test_step_error() -> None:
    error = step_error(failure("KeyError", "k"), "charge", 3)
    assert isinstance(error.cause, KeyError)
    assert (error.attempts, error.step_id) == (3, "charge")
    assert step_error(failure("gone.Away"), "charge", 3).cause is None


# --- outcomes ---------------------------------------------------------------------------------------------------------


def number(x: int) -> int:
    return x


def attempt(fn: Any = number, *, args: tuple[Any, ...] = (), snapshot: bytes | None = None) -> Attempt:
    return Attempt(
        run_id="r",
        function_id="f",
        key="/a",
        step_id="a",
        idempotency_key="r/a",
        number=1,
        attempts_max=5,
        fn=fn,
        args=args,
        kwargs={},
        options=StepOptions(),
        codec=codec_for(fn),
        context=contextvars.Context(),
        snapshot=snapshot,
    )


def test_a_result() -> None:
    outcome = returned(attempt(), 3, 17)
    assert (outcome.result, outcome.failure, outcome.took, outcome.final) == (b"3", None, 17, False)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("three", "perdure.errors.EncodingError"), (10**2_000, "perdure.errors.PayloadTooLarge")],
)
def test_a_result_that_cannot_be_recorded_is_final(value: Any, kind: str) -> None:
    outcome = returned(attempt(), value, 1, Limits(payload_bytes_max=1_000, stored_payload_bytes_max=0))
    assert outcome.failure is not None
    assert (outcome.result, outcome.failure["type"], outcome.final) == (None, kind, True)


@pytest.mark.parametrize(
    ("error", "retry_after", "final"),
    [
        (ValueError("x"), None, False),
        (NonRetriableError("x"), None, True),
        (RetryAfterError("5m"), 300_000_000, False),
        (RetryAfterError(1.5, "slow down"), 1_500_000, False),
    ],
)
def test_what_was_raised(error: Exception, retry_after: int | None, final: bool) -> None:
    outcome = raised(attempt(), caught(error), 5)
    assert outcome.exception is error
    assert (outcome.retry_after, outcome.final, outcome.result) == (retry_after, final, None)


def test_a_delay_that_is_none_is_final() -> None:
    outcome = raised(attempt(), caught(RetryAfterError("whenever")), 5)
    assert outcome.final
    assert outcome.failure is not None
    assert outcome.failure["type"] == "perdure.errors.UsageError"


# --- B8 ---------------------------------------------------------------------------------------------------------------


def passes_on(x: int) -> int:
    return number(x, x)  # type: ignore[call-arg]


@functools.wraps(passes_on)
def with_its_own_signature(*args: Any) -> int:
    return number(1, *args)


def called(fn: Any, *args: Any, **kwargs: Any) -> BaseException:
    """What the worker catches when it calls a step."""
    scope = {"__name__": "perdure.worker.steps", "attempt": SimpleNamespace(fn=fn, args=args, kwargs=kwargs)}
    exec("def call():\n    return attempt.fn(*attempt.args, **attempt.kwargs)", scope)
    try:
        scope["call"]()
    except TypeError as error:
        error.__traceback__ = (
            error.__traceback__ and error.__traceback__.tb_next
        )  # without this test's own frame
        return error
    raise AssertionError("it can be called like that")


@pytest.mark.parametrize(
    ("fn", "args", "says"),
    [
        (number, (1, 2), "than test_failures.number(x: 'int') takes: too many positional arguments"),
        (number, (), "takes: missing a required argument: 'x'"),
        (functools.partial(number, 1), (2,), "takes: too many positional arguments"),
    ],
)
def test_B8_wrong_arguments_are_final_and_named_with_the_signature(fn: Any, args: Any, says: str) -> None:
    outcome = raised(attempt(fn, args=args), called(fn, *args), 5)
    assert outcome.final
    assert isinstance(outcome.exception, UsageError)
    assert outcome.failure is not None
    message = outcome.failure["message"].replace(f"{__name__}.", "test_failures.")
    assert message.startswith("step 'a' was given other arguments than ")
    assert message.endswith(says)
    assert "Traceback" not in outcome.failure["traceback"]


@pytest.mark.parametrize(
    ("fn", "args"), [(passes_on, (1,)), (with_its_own_signature, (1, 2)), (int, ("1", [])), (len, (1,))]
)
def test_B8_another_type_error_is_the_steps_own(fn: Any, args: Any) -> None:
    outcome = raised(attempt(fn, args=args), called(fn, *args), 5)
    assert not outcome.final
    assert type(outcome.exception) is TypeError


def test_B8_an_error_of_perdure_has_no_traceback_of_perdure_alone() -> None:
    outcome = returned(attempt(), 10**2_000, 1, Limits(payload_bytes_max=1_000, stored_payload_bytes_max=0))
    assert outcome.failure is not None
    assert outcome.failure["traceback"].startswith(
        "perdure.errors.PayloadTooLarge: the result of step 'a' has 2,001"
    )
    outcome = raised(attempt(), caught(UsageError("mine")), 1)
    assert outcome.failure is not None
    assert outcome.failure["traceback"].startswith("Traceback (most recent call last):")


# --- A9 ---------------------------------------------------------------------------------------------------------------


def test_a9_arguments_that_are_changed_while_the_step_runs() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", number, [1, 2])  # type: ignore[arg-type]

    run = Driver(body, strict=True)
    [ask] = run.last.steps
    assert ask.snapshot is not None
    same = attempt(args=ask.args, snapshot=ask.snapshot)
    assert returned(same, 1, 1).failure is None
    ask.args[0].append(3)
    for outcome in (returned(same, 1, 1), raised(same, ValueError("x"), 1)):
        assert outcome.final
        assert outcome.failure is not None
        assert outcome.failure["type"] == "perdure.errors.UsageError"
        assert "was changed" in outcome.failure["message"]


def test_a9_arguments_are_not_watched_unless_asked_for() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    assert Driver(body).last.steps[0].snapshot is None


def test_a9_what_cannot_be_encoded_is_not_watched() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", number, object())  # type: ignore[arg-type]

    run = Driver(body, strict=True)
    [ask] = run.last.steps
    assert returned(attempt(args=ask.args, snapshot=ask.snapshot), 1, 1).failure is None


def test_a9_results_are_decoded_from_what_is_recorded() -> None:
    shared = [1]

    def gives() -> list[int]:
        return shared

    seen: list[Any] = []

    async def body(ctx: Context) -> None:
        seen.append(await ctx.step.run("a", gives))

    run = Driver(body)
    data = returned(attempt(gives), shared, 1).result
    shared.append(2)
    run.release(("perdure.StepDone", {"key": "/a", "time": 0, "attempt": 1, "took": 1, "result": data}))
    assert seen == [[1]]


def test_a9_the_time_of_the_first_turn_is_that_of_the_starting_record() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, ctx.now().isoformat())

    first, second = Driver(body), Driver(body)
    assert first.last.steps[0].args == second.last.steps[0].args == ("2023-11-14T22:13:20+00:00",)
