"""Steps with some of them mocked: the attempt runs as always, the function called is another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from perdure.execution.ports import Attempt, Outcome, Steps


@dataclass(slots=True)
class Mock:
    """Stands in for a step's function, in one function or in all."""

    step_id: str
    function_id: str | None
    call: Callable[..., Any]
    calls: int = 0


class MockedSteps:
    """Runs attempts through another `Steps`, after looking for a mock."""

    def __init__(self, inner: Steps) -> None:
        self._inner = inner
        self.mocks: list[Mock] = []
        self.on_attempt: Callable[[Attempt], None] | None = None

    def start(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        if self.on_attempt is not None:
            self.on_attempt(attempt)
        mock = self._find(attempt)
        if mock is not None:
            mock.calls += 1
            attempt = replace(attempt, fn=mock.call)
        self._inner.start(attempt, done)

    def _find(self, attempt: Attempt) -> Mock | None:
        plain = attempt.step_id.partition(":")[0]
        for mock in reversed(self.mocks):
            if mock.step_id in (attempt.step_id, plain) and mock.function_id in (None, attempt.function_id):
                return mock
        return None

    def cancel(self, run_id: str, key: str) -> None:
        self._inner.cancel(run_id, key)

    def compute(self, fn: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._inner.compute(fn, done)
