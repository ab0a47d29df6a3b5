"""Explores a model: breadth first, so that the first trace found is a shortest one, and by random walks beyond."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

S = TypeVar("S", bound=Hashable)
Successors = Callable[[S], Iterable[tuple[str, S]]]
Trouble = Callable[[S], "str | None"]


@dataclass(frozen=True)
class Explored:
    """What an exploration found."""

    states: int
    """States visited; for walks, steps taken."""
    complete: bool
    """Whether these are all states within the model's bounds."""
    trouble: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.trouble is None:
            return f"{'all' if self.complete else 'the first'} {self.states:,} states are in order"
        steps = "\n".join(f"  {n:2} {step}" for n, step in enumerate(self.trace, 1))
        return f"{self.trouble} (after {self.states:,} states)\n{steps}"


@dataclass(frozen=True)
class Model(Generic[S]):
    """A start, what can happen next, and what may never be."""

    start: S
    successors: Successors[S]
    trouble: Trouble[S]

    def explore(self, states_max: int) -> Explored:
        """Visits every state, the nearest first, up to a bound; stops at the first trouble."""
        came: dict[S, tuple[S, str] | None] = {self.start: None}
        queue = deque([self.start])
        visited = 0
        while queue:
            state = queue.popleft()
            visited += 1
            found = self.trouble(state)
            if found is not None:
                return Explored(visited, False, found, _trace(came, state))
            if visited >= states_max:
                return Explored(visited, False)
            for step, after in self.successors(state):
                if after not in came:
                    came[after] = (state, step)
                    queue.append(after)
        return Explored(visited, True)

    def walk(self, walks: int, steps_max: int, seed: int) -> Explored:
        """Follows random paths from the start; the same seed takes the same paths."""
        choice = random.Random(seed).choice
        taken = 0
        for _ in range(walks):
            state, trace = self.start, list[str]()
            while len(trace) < steps_max and (ahead := list(self.successors(state))):
                step, state = choice(ahead)
                trace.append(step)
                taken += 1
                found = self.trouble(state)
                if found is not None:
                    return Explored(taken, False, found, tuple(trace))
        return Explored(taken, False)


def _trace(came: dict[Any, tuple[Any, str] | None], state: Any) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came[state]) is not None:
        state, step = before
        steps.append(step)
    return tuple(reversed(steps))
