"""`app.flow`: the numbers of limits, changed while the app runs, whatever is deployed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from perdure.authoring.changing import FIELDS, model_of
from perdure.authoring.functions import Function
from perdure.authoring.limits import Limit, LimitSpec
from perdure.authoring.registry import Registry
from perdure.client.client import Client
from perdure.client.connections import Connections
from perdure.client.deployed import deployed, note
from perdure.core.deploys import LIMIT, Deploys, limit_key
from perdure.errors import UsageError

__all__ = ["Flow", "LimitView", "change", "check_change", "declared", "reset", "views"]

_NAMES = {"rate": "RateLimit"}


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit that is in force."""

    id: str
    """As the log has it: the kind, the key, and whose it is."""
    functions: tuple[str, ...]
    """Who declare it: several share one of the app."""
    limit: Limit
    """With the numbers that hold now."""
    declared: Limit
    """With those of the code."""

    @property
    def changed(self) -> bool:
        """Whether the numbers are others than those of the code."""
        return self.limit != self.declared


class Flow:
    """The limits of an app's functions. What changes one is durable when it returns, and holds from then on for those
    who wait already, on every worker and after each deploy, until it is reset."""

    def __init__(self, app: str, connections: Callable[[], Connections], functions: Registry) -> None:
        self._app = app
        self._connections = connections
        self._functions = functions

    async def set(self, function: Function[Any, Any] | str, limit: Limit) -> None:
        """Gives a limit that a function declares other numbers: `app.flow.set("sync", Concurrency(20))`.

        It is known by its kind, its key, and, for Concurrency, its unit and scope: these and what else is no number
        are as in the code. A limit of the app is changed for all who declare it. A run that holds a place keeps it
        when the limit becomes smaller. Raises UsageError when no such limit is deployed.
        """
        function_id = self._functions.resolve(function).id
        if not isinstance(limit, Limit):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"app.flow.set({function_id!r}, {limit!r:.80}): give a limit, such as Concurrency(20)"
            )
        connection = await self._connections().get()
        spec = limit.spec(function_id)
        check_change(await deployed(connection.log), function_id, spec)
        await change(connection.client, self._app, spec)

    async def reset(self, function: Function[Any, Any] | str) -> None:
        """Lets the numbers in the code hold again for all limits that a function declares."""
        function_id = self._functions.resolve(function).id
        connection = await self._connections().get()
        await reset(connection.client, self._app, await deployed(connection.log), function_id)

    async def list(self) -> Sequence[LimitView]:
        """The limits of all deployed functions that have numbers, by function."""
        return views(await deployed((await self._connections().get()).log))


def declared(found: Deploys, function: str) -> Sequence[LimitSpec]:
    """The limits of a deployed function that have numbers, with those of the code."""
    return [spec for one, spec in _specs(found) if one == function]


def _specs(found: Deploys) -> Iterable[tuple[str, LimitSpec]]:
    for function in found.functions:
        for spec in function.get("flow", ()):
            if spec["kind"] in FIELDS:
                yield function["id"], cast("LimitSpec", spec)


def views(found: Deploys) -> Sequence[LimitView]:
    """The limits in force that have numbers."""
    users: dict[str, list[str]] = {}
    specs: dict[str, LimitSpec] = {}
    for function, spec in _specs(found):
        users.setdefault(spec["id"], []).append(function)
        specs[spec["id"]] = spec
    made: list[LimitView] = []
    for limit_id, spec in specs.items():
        now = cast("LimitSpec", {**spec, **found.numbers(limit_id)})
        made.append(LimitView(limit_id, tuple(users[limit_id]), model_of(now), model_of(spec)))
    return made


def check_change(found: Deploys, function: str, wanted: LimitSpec) -> None:
    """Raises UsageError when no limit of a function differs from the one wanted in its numbers alone."""
    there = {spec["id"]: spec for spec in declared(found, function)}
    spec = there.get(wanted["id"])
    what = f"function {function!r}"
    if spec is None:
        names = ", ".join(shown(one) for one in there.values()) or "none with numbers"
        raise UsageError(
            f"{what} has no {shown(wanted)} in force; there is {names}. A limit is added by a deploy, its numbers are"
            " changed at run time"
        )
    if any(spec[name] != wanted[name] for name in ("mode", "only")):
        raise UsageError(
            f"{what}: of {shown(spec)} only the numbers can be changed; the rest is changed by a deploy"
        )


def shown(spec: LimitSpec) -> str:
    """What a limit is called in messages."""
    if spec["kind"] not in FIELDS:
        return spec["kind"].capitalize()
    more = [f"key={spec['key']!r}"] if spec["key"] else []
    if spec["kind"] == "concurrency":
        more.append(f"unit={spec['mode']!r}")
        more += ["scope='app'"] if spec["id"].startswith("concurrency::") else []
    return f"{_NAMES.get(spec['kind'], spec['kind'].capitalize())}({', '.join(more)})"


def numbers(limit: Limit) -> dict[str, int | timedelta]:
    """The numbers of a limit, by their names in the log; times as such."""
    spec: Mapping[str, Any] = limit.spec("")
    times = ("period", "timeout")
    return {
        name: timedelta(microseconds=spec[name]) if name in times else spec[name]
        for name in FIELDS[spec["kind"]]
        if spec[name] or name == "limit"
    }


async def change(client: Client, app: str, spec: LimitSpec, *, back: bool = False) -> None:
    """Says so in the registry; durable when this returns. Raises LogError."""
    body = {"limit": spec, "changed": not back}
    await note(client, app, LIMIT, limit_key(spec["id"]), "LimitChanged", body)


async def reset(client: Client, app: str, found: Deploys, function: str) -> None:
    """Takes back what was changed of the limits that a function declares. Raises LogError."""
    for spec in declared(found, function):
        if spec["id"] in found.limits:
            await change(client, app, spec, back=True)
