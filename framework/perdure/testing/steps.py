"""Steps with some of them mocked: the attempt runs as always, the function called is another."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from perdure.errors import UsageError
from perdure.execution.ports import Attempt, Outcome, Steps


@dataclass(slots=True)
class Mock:
    """Stands in for a step's function, in one function or in all."""

    step_id: str
    function_id: str | None
    call: Callable[..., Any]
    calls: int = 0
    required: bool = True
    """Whether an environment fails when it is left and no step of this id ran in it."""
    met: bool = False
    """Whether such a step ran, be it with a mock that was made later."""

    def fits(self, attempt: Attempt) -> bool:
        plain = attempt.step_id.partition(":")[0]
        return self.step_id in (attempt.step_id, plain) and self.function_id in (None, attempt.function_id)

    def __str__(self) -> str:
        where = "" if self.function_id is None else f", function={self.function_id!r}"
        return f"mock_step({self.step_id!r}{where})"


class Mocks:
    """The mocks of an environment, over all its workers, and the steps that ran."""

    def __init__(self) -> None:
        self._mocks: list[Mock] = []
        self._ran: dict[tuple[str, str], None] = {}

    def add(
        self,
        step_id: str,
        function_id: str | None,
        *,
        returns: Any,
        raises: BaseException | None,
        call: Callable[..., Any] | None,
        required: bool,
    ) -> Mock:
        if sum(given is not None for given in (returns, raises, call)) > 1:
            raise UsageError(f"mock_step({step_id!r}) takes one of returns=, raises= and call=")

        async def stand_in(*_args: Any, **_kwargs: Any) -> Any:
            if raises is not None:
                raise raises
            return returns

        mock = Mock(step_id, function_id, call or stand_in, required=required)
        self._mocks.append(mock)
        return mock

    def find(self, attempt: Attempt) -> Mock | None:
        """The mock of an attempt's step, the one that was made last."""
        self._ran[attempt.function_id, attempt.step_id] = None
        fitting = [mock for mock in self._mocks if mock.fits(attempt)]
        for mock in fitting:
            mock.met = True
        return fitting[-1] if fitting else None

    def forgive(self) -> None:
        """No mock has to be used: the test failed before it came so far."""
        for mock in self._mocks:
            mock.required = False

    def check(self) -> None:
        """Raises UsageError for mocks whose step never ran, with the steps that did."""
        unused = [mock for mock in self._mocks if mock.required and not mock.met]
        if not unused:
            return
        ran = list(dict.fromkeys(step_id for _, step_id in self._ran))
        if any(mock.function_id is not None for mock in unused):
            shown = [f"{step_id} (of {function_id})" for function_id, step_id in self._ran]
        else:
            shown = ran
        near = [difflib.get_close_matches(mock.step_id, ran, n=1) for mock in unused]
        hint = ", ".join(dict.fromkeys(repr(found[0]) for found in near if found))
        raise UsageError(
            f"{', '.join(map(str, unused))} {'was' if len(unused) == 1 else 'were'} never used; "
            f"steps that ran: {', '.join(shown) or 'none'}{f'; did you mean {hint}?' if hint else ''} "
            "(a mock that may stay unused takes required=False)"
        )


class MockedSteps:
    """Runs attempts through another `Steps`, after looking for a mock."""

    def __init__(self, inner: Steps, mocks: Mocks) -> None:
        self._inner = inner
        self._mocks = mocks
        self.on_attempt: Callable[[Attempt], None] | None = None

    @property
    def waiting(self) -> int:
        return self._inner.waiting

    def start(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        if self.on_attempt is not None:
            self.on_attempt(attempt)
        mock = self._mocks.find(attempt)
        if mock is not None:
            mock.calls += 1
            attempt = replace(attempt, fn=mock.call)
        self._inner.start(attempt, done)

    def cancel(self, run_id: str, key: str) -> None:
        self._inner.cancel(run_id, key)

    def compute(self, fn: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._inner.compute(fn, done)
