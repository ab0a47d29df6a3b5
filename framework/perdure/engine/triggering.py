"""Which functions an event starts here: the log's definitions, with the CEL and the code that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.authoring import cel
from perdure.authoring.functions import Function
from perdure.authoring.triggers import If
from perdure.core.matching import Matching, Predicate
from perdure.core.ops import EventData
from perdure.errors import UsageError


class Triggering:
    """Makes the table of a config once, for all partitions that have it."""

    def __init__(self, functions: Mapping[str, Function[Any, Any]]) -> None:
        self._functions = functions
        self._version = 0
        self._matching: Matching | None = None

    def of(self, config: Mapping[str, Any]) -> Matching:
        """The table of a `Config` record.

        Raises UsageError when this process lacks what the definitions need: CEL, or a predicate's code. No event may
        be routed then: those that it starts would be lost.
        """
        if self._matching is None or self._version != config["version"]:
            self._matching = Matching(config["functions"], cel.tester, self._predicates)
            self._version = config["version"]
        return self._matching

    def _predicates(self, function_id: str, trigger: int) -> Sequence[Predicate]:
        function = self._functions.get(function_id)
        if function is None or trigger >= len(function.triggers):
            raise UsageError(
                f"the function {function_id!r} has a predicate as if_, and its code is not here; upgrade this worker"
            )
        asked = function.triggers[trigger].conditions
        return [_predicate(function, if_) for if_ in asked if not isinstance(if_, str)]


def _predicate(function: Function[Any, Any], if_: If) -> Predicate:
    assert callable(if_)

    def holds(event: EventData) -> bool:
        try:
            return bool(if_(function.receive(event)))
        except Exception as error:
            name = getattr(if_, "__name__", "if_")
            raise UsageError(f"if_ failed: {name} raised {type(error).__name__}: {error!s:.300}") from error

    return holds
