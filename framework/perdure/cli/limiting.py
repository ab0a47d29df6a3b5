"""`perdure functions limits | set-limit | reset-limits`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.commands import Command
from perdure.cli.deployed import check_deployed
from perdure.cli.options import FunctionArgument, JsonOption, LogOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perdure.authoring.limits import LimitSpec
    from perdure.core.deploys import Deploys
    from perdure.errors import UsageError
    from perdure.steering.flow import LimitView


KindArgument = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        show_default=False,
        help="concurrency, throttle, rate, debounce, batch or idempotency.",
    ),
]
CountOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", show_default=False, help="How many."),
]
PeriodOption = Annotated[
    str | None,
    typer.Option(
        "--period",
        metavar="DURATION",
        show_default=False,
        help="In which time; of a batch, how long it waits.",
    ),
]
BurstOption = Annotated[
    int | None,
    typer.Option("--burst", metavar="N", show_default=False, help="How many more start at once."),
]
TimeoutOption = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", show_default=False, help="The longest debounce."),
]
BytesOption = Annotated[
    int | None,
    typer.Option("--max-bytes", metavar="N", show_default=False, help="Of the data of a batch."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="PATH", show_default=False, help="Which, where a function has several of a kind."
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option("--unit", metavar="step|run", show_default=False, help="Which, of several concurrencies."),
]


def limits(log: LogOption = None, json: JsonOption = False) -> None:
    """List the limits of flow control that are in force, and which of them are not as the code has them.

    [dim]Example:[/]  perdure functions limits
    """
    from perdure.cli.places import opened
    from perdure.cli.shapes import dumped
    from perdure.client.deployed import deployed
    from perdure.steering.flow import views

    async def read() -> Sequence[LimitView]:
        async with opened(log) as known:
            return views(await deployed(known))

    found = asyncio.run(read())
    if json:
        typer.echo(dumped([_shape(view) for view in found]))
    elif found:
        from perdure.cli.showing import console, printed, table

        made = table("FUNCTION", "LIMIT", "IN FORCE", "IN THE CODE")
        for view in found:
            in_code = _numbers(view.declared) if view.changed else ""
            made.add_row(", ".join(view.functions), _name(view), _numbers(view.limit), in_code)
        printed(console(), made)
    else:
        typer.echo("no deployed function has a limit with numbers")


def set_limit(
    function: FunctionArgument,
    kind: KindArgument,
    limit: CountOption = None,
    period: PeriodOption = None,
    burst: BurstOption = None,
    timeout: TimeoutOption = None,
    max_bytes: BytesOption = None,
    key: KeyOption = None,
    unit: UnitOption = None,
    log: LogOption = None,
    json: JsonOption = False,
) -> None:
    """Give a limit of a function other numbers, at once and whatever is deployed, until they are reset.

    [dim]Example:[/]  perdure functions set-limit sync concurrency --limit 20
    """
    from perdure.core.durations import to_us

    given: dict[str, Any] = {
        "limit": limit,
        "period": None if period is None else to_us(period),
        "burst": burst,
        "timeout": None if timeout is None else to_us(timeout),
        "bytes": max_bytes,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    view = asyncio.run(_set(log, function, kind, {"key": key, "mode": unit}, wanted))
    _tell([view], f"{_name(view)} of {', '.join(view.functions)}: {_numbers(view.limit)}", json=json)


def reset_limits(function: FunctionArgument, log: LogOption = None, json: JsonOption = False) -> None:
    """Let the numbers in the code hold again for the limits of a function.

    [dim]Example:[/]  perdure functions reset-limits sync
    """
    found = asyncio.run(_reset(log, function))
    _tell(found, f"the limits of {function} are as in the code", json=json)


def add_to(app: typer.Typer) -> None:
    """Puts the commands among those of functions."""
    app.command(cls=Command)(limits)
    app.command("set-limit", cls=Command)(set_limit)
    app.command("reset-limits", cls=Command)(reset_limits)


async def _set(
    log: str | None, function: str, kind: str, which: Mapping[str, str | None], numbers: Mapping[str, int]
) -> LimitView:
    from perdure.authoring.changing import FIELDS, model_of
    from perdure.cli.places import client_of, opened, vault_at
    from perdure.client.deployed import app_of, deployed
    from perdure.steering.flow import change, views

    async with opened(log) as known, client_of(known, vault_at(log)) as client:
        found = await deployed(known)
        spec = _chosen(found, function, kind, which)
        odd = sorted(numbers.keys() - set(FIELDS[kind]))
        if odd or not numbers:
            raise _misused(kind, odd, FIELDS[kind])
        wanted: Any = {**spec, **found.numbers(spec["id"]), **numbers}
        model_of(wanted)  # refuses numbers that cannot be
        await change(client, await app_of(known), wanted)
        return next(view for view in views(await deployed(known)) if view.id == spec["id"])


async def _reset(log: str | None, function: str) -> Sequence[LimitView]:
    from perdure.cli.places import client_of, opened, vault_at
    from perdure.client.deployed import app_of, deployed
    from perdure.steering.flow import reset, views

    async with opened(log) as known, client_of(known, vault_at(log)) as client:
        found = await deployed(known)
        check_deployed(found, function)
        await reset(client, await app_of(known), found, function)
        return [view for view in views(await deployed(known)) if function in view.functions]


def _chosen(found: Deploys, function: str, kind: str, which: Mapping[str, str | None]) -> LimitSpec:
    from perdure.errors import UsageError
    from perdure.steering.flow import declared, shown

    check_deployed(found, function)
    there = declared(found, function)
    fits = [
        spec
        for spec in there
        if spec["kind"] == kind
        and all(value is None or spec.get(name) == value for name, value in which.items())
    ]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(map(shown, fits or there)) or "none with numbers"
    if fits:
        raise UsageError(f"function {function!r} has {names}; say which with --key and --unit")
    raise UsageError(f"function {function!r} has no such limit {kind!r} in force; there is {names}")


def _misused(kind: str, odd: Sequence[str], known: Sequence[str]) -> UsageError:
    from perdure.errors import UsageError

    options = ", ".join("--" + _OPTIONS.get(name, name) for name in known)
    if odd:
        return UsageError(f"{kind} has no --{_OPTIONS.get(odd[0], odd[0])}; it takes {options}")
    return UsageError(f"say what is to change: {kind} takes {options}")


_OPTIONS = {"bytes": "max-bytes"}


def _name(view: LimitView) -> str:
    from perdure.steering.flow import shown

    return shown(view.limit.spec(view.functions[0]))


def _numbers(limit: Any) -> str:
    from perdure.cli.wording import duration
    from perdure.core.durations import to_us
    from perdure.steering.flow import numbers

    found = numbers(limit).items()
    return ", ".join(
        f"{name} {value if isinstance(value, int) else duration(to_us(value))}" for name, value in found
    )


def _shape(view: LimitView) -> dict[str, Any]:
    from perdure.steering.flow import numbers

    def plain(limit: Any) -> dict[str, float]:
        found = numbers(limit).items()
        return {name: value if isinstance(value, int) else value.total_seconds() for name, value in found}

    spec = view.limit.spec(view.functions[0])
    shown: dict[str, Any] = {"id": view.id, "functions": list(view.functions), "kind": spec["kind"]}
    return shown | {
        "key": spec["key"] or None,
        "numbers": plain(view.limit),
        "declared": plain(view.declared),
    }


def _tell(found: Sequence[LimitView], said: str, *, json: bool) -> None:
    from perdure.cli.shapes import dumped

    typer.echo(dumped([_shape(view) for view in found]) if json else said)
