"""Which functions an event starts: a table of the names and of the values that their triggers ask for.

An event's name leads to the triggers of that name and to the patterns above it, and what it has at a path to those that
ask for this value there; only what these leave is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure.core import conditions, paths
from perdure.core.conditions import Condition, Scalar
from perdure.core.ops import EventData
from perdure.errors import EncodingError, PerdureError

__all__ = ["Matched", "Matching", "Predicate", "Test"]

Test = Callable[[Mapping[str, Any]], bool]
"""What is left of a condition when its equalities hold; given as much of the event as it reads. Raises PerdureError
when it cannot be told."""
Predicate = Callable[[EventData], bool]
"""A condition in Python. Raises PerdureError when it cannot be told."""


@dataclass(slots=True)
class Matched:
    """What an event comes to."""

    functions: list[str] = field(default_factory=list[str])
    """Those that it starts, each once, in the order of their definition."""
    failed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Those of which it cannot be told, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    """One trigger of one function."""

    order: int
    function: str
    conditions: tuple[Condition, ...] = ()
    tests: tuple[tuple[Condition, Test], ...] = ()
    predicates: tuple[Predicate, ...] = ()


@dataclass(slots=True)
class _Bucket:
    """The triggers of one name or pattern."""

    open: list[_Rule] = field(default_factory=list[_Rule])
    """Those that have to be looked at whatever the event holds."""
    keyed: dict[tuple[str, ...], dict[Scalar, list[_Rule]]] = field(
        default_factory=dict[tuple[str, ...], dict[Scalar, list[_Rule]]]
    )
    """The others, by the first equality that they ask for."""

    def add(self, rule: _Rule) -> None:
        for condition in rule.conditions:
            if condition.equals:
                path, value = condition.equals[0]
                self.keyed.setdefault(path, {}).setdefault(value, []).append(rule)
                return
        self.open.append(rule)


def _no_test(condition: Condition) -> Test:
    raise LookupError(f"nobody evaluates {condition.text!r} here")


def _no_predicates(function: str, trigger: int) -> Sequence[Predicate]:
    raise LookupError(f"nobody has trigger {trigger} of {function!r} here")


class Matching:
    """The table of a `Config` record's functions. `test` makes what evaluates the rest of a condition, and
    `predicates` finds those of a function's trigger in its code."""

    def __init__(
        self,
        functions: Iterable[Mapping[str, Any]],
        test: Callable[[Condition], Test] = _no_test,
        predicates: Callable[[str, int], Sequence[Predicate]] = _no_predicates,
    ) -> None:
        self._names: dict[str, _Bucket] = {}
        self._patterns: dict[str, _Bucket] = {}
        for order, function in enumerate(functions):
            for number, pattern in enumerate(function["triggers"]):
                rule = _rule(order, function, number, test, predicates)
                wild = pattern.endswith("*")
                table, name = (self._patterns, pattern[:-1]) if wild else (self._names, pattern)
                table.setdefault(name, _Bucket()).add(rule)

    def match(self, event: EventData) -> Matched:
        """What an event starts. Data that is not JSON fulfils no condition."""
        seen = _Event(event)
        found: dict[int, str] = {}
        failed: dict[int, tuple[str, str]] = {}
        for bucket in self._buckets(event["name"]):
            for rule in _candidates(bucket, seen):
                if rule.order in found:
                    continue
                try:
                    if seen.fulfils(rule):
                        found[rule.order] = rule.function
                except PerdureError as error:
                    failed.setdefault(rule.order, (rule.function, str(error)))
        matched = Matched([found[order] for order in sorted(found)])
        matched.failed = [failure for order, failure in sorted(failed.items()) if order not in found]
        return matched

    def _buckets(self, name: str) -> Iterator[_Bucket]:
        exact = self._names.get(name)
        if exact is not None:
            yield exact
        for end, letter in enumerate(name[:-1], 1) if self._patterns else ():
            if letter in "/." and (bucket := self._patterns.get(name[:end])) is not None:
                yield bucket


def _rule(
    order: int,
    function: Mapping[str, Any],
    number: int,
    test: Callable[[Condition], Test],
    predicates: Callable[[str, int], Sequence[Predicate]],
) -> _Rule:
    asked = [c["cel"] for c in function.get("conditions", ()) if c["trigger"] == number]
    parsed = tuple(conditions.parse(text) for text in asked if text)
    return _Rule(
        order,
        function["id"],
        parsed,
        tuple((condition, test(condition)) for condition in parsed if condition.rest),
        tuple(predicates(function["id"], number)) if "" in asked else (),
    )


def _candidates(bucket: _Bucket, event: _Event) -> Iterator[_Rule]:
    yield from bucket.open
    for path, values in bucket.keyed.items():
        value = event.at(path)
        if value is not None:
            yield from values.get(value, ())


class _Event:
    """An event, decoded when first looked into."""

    def __init__(self, event: EventData) -> None:
        self._event = event
        self._view: dict[str, Any] | None = None
        self._values: dict[tuple[str, ...], Scalar | None] = {}

    def at(self, path: tuple[str, ...]) -> Scalar | None:
        if path not in self._values:
            self._values[path] = conditions.value_at(self._seen(), path)
        return self._values[path]

    def fulfils(self, rule: _Rule) -> bool:
        for condition in rule.conditions:
            if any(self.at(path) != value for path, value in condition.equals):
                return False
        return all(test(conditions.projected(self._seen(), c.reads)) for c, test in rule.tests) and all(
            predicate(self._event) for predicate in rule.predicates
        )

    def _seen(self) -> dict[str, Any]:
        if self._view is None:
            try:
                self._view = paths.event_view(self._event)
            except EncodingError:
                self._view = {}
        return self._view
