"""What is recorded of an error beside its text: its own fields, and the errors that led to it."""

from __future__ import annotations

from typing import Any

from perdure.core.failures import causes_of, fields_of
from perdure.errors import StepError
from perdure.execution.failures import failure_of, step_error
from tests.execution.test_failures import caught


class Declined(Exception):
    @property
    def secret(self) -> str:
        raise AssertionError("no code of the class is run")

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(f"declined: {code}")
        self.code = code
        self.secret_ = b"no JSON"
        self._own = "private"
        vars(self).update(more)


def test_an_errors_own_fields_are_recorded_and_rebuilt() -> None:
    error = step_error(failure_of(caught(Declined("expired", tries=[1, 2]))), "charge", 3)
    assert error.fields == {"code": "expired", "tries": [1, 2]}
    assert isinstance(error.cause, Declined)
    assert (error.cause.code, vars(error.cause), str(error.cause)) == (
        "expired",
        error.fields,
        "declined: expired",
    )


def test_fields_that_are_no_json_or_too_large_are_left_out() -> None:
    loop: list[Any] = []
    loop.append(loop)
    recorded = failure_of(Declined("x", body="b" * 3_000, loop=loop, bad="\ud800", nan=float("nan"), fine=1))
    assert fields_of(recorded) == {"code": "x", "fine": 1}
    many = failure_of(Declined("x", **{f"f{n}": "v" * 100 for n in range(100)}))
    assert len(many["data"]) < 2_500
    assert len(fields_of(many)) > 10
    assert failure_of(ValueError("no"))["data"] == ""


def chained() -> BaseException:
    try:
        try:
            raise KeyError("k")
        except KeyError as error:
            raise Declined("expired") from error
    except Declined:
        return caught(LookupError("nothing"))


def test_what_led_to_an_error_is_recorded_and_rebuilt() -> None:
    error = step_error(failure_of(chained()), "charge", 1)
    assert error.causes == [
        {
            "type": "tests.execution.test_error_fields.Declined",
            "message": "declined: expired",
            "fields": {"code": "expired"},
        },
        {"type": "KeyError", "message": "'k'"},
    ]
    assert isinstance(error.cause, LookupError)
    assert isinstance(error.cause.__cause__, Declined)
    assert isinstance(error.cause.__cause__.__cause__, KeyError)


def test_what_a_step_failed_by_leads_on_when_its_body_raises_another() -> None:
    try:
        raise step_error(failure_of(chained()), "charge", 1)
    except StepError as error:
        other = ValueError("no order")
        other.__cause__ = error
    kinds = [cause["type"].rpartition(".")[2] for cause in causes_of(failure_of(other))]
    assert kinds == ["LookupError", "Declined", "KeyError"]
    assert causes_of(failure_of(step_error(failure_of(chained()), "charge", 1))) == causes_of(
        failure_of(chained())
    )


def test_endless_causes_end() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert [cause["message"] for cause in causes_of(failure_of(first))] == ["2"]
    deep = ValueError("0")
    for number in range(1, 20):
        outer = ValueError(str(number))
        outer.__cause__ = deep
        deep = outer
    assert [cause["message"] for cause in causes_of(failure_of(deep))] == ["18", "17", "16", "15", "14"]
