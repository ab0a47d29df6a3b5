"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

LogOption = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="URL",
        show_default=False,
        help="The log, such as sqlite:///path/log.db. Default: PERDURE_LOG, else .perdure/log.db of this project.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs; its fields are stable.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", show_default=False, help="The run's id, or the beginning of it.")
]
FunctionArgument = Annotated[
    str, typer.Argument(metavar="FUNCTION", show_default=False, help="The function's id.")
]
OnceOption = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", show_default=False, help="With one id, it is started once."),
]
AppArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE:APP",
        show_default=False,
        help="The app: shop.py:app, or module:app; `app` is the default name.",
    ),
]
SlotsOption = Annotated[int, typer.Option("--slots", min=1, metavar="N", help="Steps that may run at once.")]
DrainOption = Annotated[
    str,
    typer.Option("--drain", metavar="DURATION", help="How long running steps may take to end."),
]
