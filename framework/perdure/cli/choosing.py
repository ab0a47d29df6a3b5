"""Which runs a command means: all that its options say must fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perdure.core.state import Run

SHOWN_MAX = 20

StatusOption = Annotated[
    str | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        show_default=False,
        help="queued, scheduled, running, paused, parked, completed, failed, cancelled, skipped; or live, ended.",
    ),
]
FunctionOption = Annotated[
    str | None,
    typer.Option("--function", metavar="ID", show_default=False, help="Runs of this function only."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="DURATION", show_default=False, help="Created within this time: 30m, 2d."
    ),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="NAME=VALUE",
        show_default=False,
        help="With this tag; given again, with all of them.",
    ),
]


class Choice:
    """What `--status`, `--function`, `--since` and `--tag` say. Raises UsageError for what nothing can fit."""

    def __init__(
        self,
        status: str | None,
        function: str | None,
        since: str | None,
        tags: Sequence[str] | None,
        now: int,
    ) -> None:
        from perdure.cli.times import duration_us

        self.any = any(given is not None for given in (status, function, since)) or bool(tags)
        """Whether anything was said."""
        self.function = function
        self._statuses = _statuses(status)
        self._after = 0 if since is None else now - duration_us("--since", since)
        self._tags = _tags(tags or ())

    def fits(self, run: Run) -> bool:
        return (
            (self._statuses is None or run.status in self._statuses)
            and run.created >= self._after
            and self.function in (None, run.function)
            and self._tags.items() <= run.tags.items()
        )

    def none_fits(self, known: Sequence[Run]) -> str:
        """Why nothing of what is known does."""
        from perdure.cli.wording import listed

        functions = sorted({run.function for run in known})
        if not known:
            return "no run yet: send an event, or start one with `perdure runs start`"
        if self.function is not None and self.function not in functions:
            more = f" and {len(functions) - SHOWN_MAX} more" if len(functions) > SHOWN_MAX else ""
            names = ", ".join(functions[:SHOWN_MAX]) + more if more else listed(functions)
            return f"no run of {self.function}: there are runs of {names}"
        return "no run fits"


def _statuses(status: str | None) -> set[str] | None:
    from typing import get_args

    from perdure.core.state import ENDED, Status
    from perdure.errors import UsageError

    known: set[str] = set(get_args(Status))
    if status is None:
        return None
    if status in ("live", "ended"):
        return set(ENDED) if status == "ended" else known - ENDED
    if status not in known:
        raise UsageError(f"--status {status}: use {', '.join(get_args(Status))}, or live, or ended")
    return {status}


def _tags(given: Sequence[str]) -> dict[str, str]:
    from perdure.errors import UsageError

    tags: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"--tag {text}: write NAME=VALUE, such as --tag tenant=acme")
        if tags.setdefault(name, value) != value:
            raise UsageError(f"--tag {name} is given as {tags[name]} and as {value}: no run has both")
    return tags
