"""Runs, events and findings as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perdure.cli.history import last_op, short_ids
from perdure.cli.printing import is_coloured
from perdure.cli.wording import clock, counted, cut, duration, error_line, moment, shortened, users_part
from perdure.core.ops import EventData, Op
from perdure.core.state import Pending, Run
from perdure.index.reader import Skip
from perdure.index.views import RunView, StepView, held_end

WIDE = 10_000
"""Columns of what is no terminal: nothing is cut, so that grep finds it."""
STYLES = {
    "completed": "green",
    "failed": "red",
    "timed out": "yellow",
    "cancelled": "yellow",
    "parked": "yellow",
    "paused": "yellow",
    "retrying": "yellow",
    "running": "blue",
    "queued": "dim",
    "scheduled": "dim",
    "abandoned": "dim",
    "skipped": "dim",
}


def console() -> Console:
    """Standard output."""
    terminal = sys.stdout.isatty()
    coloured = is_coloured(sys.stdout)
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        no_color=not coloured,
        force_terminal=coloured or None,
        width=None if terminal else WIDE,
    )


def printed(out: Console, made: Table) -> None:
    """Prints a table; where no terminal hides them, without spaces at the ends of lines.

    All but the last column have the width of what is in them: a name or an id that is cut is of no use. Where that
    needs more room than there is, the terminal goes on below.
    """
    *inner, last = made.columns
    widths = [max(cell_len(_plain_text(cell)) for cell in (column.header, *column.cells)) for column in inner]
    for column, width in zip(inner, widths, strict=True):
        column.width = width
    taken = sum(widths) + made.padding[1] * len(widths)
    out.width = max(out.width, taken + cell_len(_plain_text(last.header)))
    if last.no_wrap:
        last.max_width = out.width - taken
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    for line in captured.get().splitlines():
        out.print(line.rstrip())


def table(*columns: str, last_grows: bool = True) -> Table:
    """A table without lines; the last column takes what room is left."""
    made = Table(box=None, pad_edge=False, header_style="dim", show_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        last = index == len(columns) - 1 and last_grows
        made.add_column(
            column,
            no_wrap=True,
            overflow="ellipsis" if last else "fold",
        )
    return made


def _plain_text(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def status(name: str) -> Text:
    return Text(name, style=STYLES.get(name, ""))


def show_runs(runs: Sequence[Run], total: int, now: int) -> None:
    out = console()
    made = table("RUN", "FUNCTION", "STATUS", "CREATED", "TOOK", "NOW")
    names = short_ids([run.id for run in runs])
    for run in runs:
        took = duration(run.ended - run.started) if run.ended and run.started else ""
        made.add_row(
            names[run.id], run.function, status(run.status), moment(run.created, now), took, doing(run, now)
        )
    printed(out, made)
    if total > len(runs):
        out.print(Text(f"{len(runs)} of {counted(total, 'run')}; --limit shows more", style="dim"))


def doing(run: Run, now: int) -> str:
    """What a run is at, or how it ended, on one line."""
    if run.error is not None:
        return error_line(run.error["type"], run.error["message"])
    if run.result is not None:
        return "" if run.result == b"null" else "→ " + cut(run.result.decode(errors="replace"), 120)
    if run.status == "queued":
        return "not begun, or in its first step"  # the log hears of a beginning with what follows from it
    if run.status == "scheduled":
        return f"starts at {moment(run.not_before, now)}"
    if ending := held_end(run):
        return _ending(ending)
    if run.reason or not run.live:
        return cut(run.reason, 120)
    said = [_pending(key.partition("/")[2], pending, now) for key, pending in run.pending.items()]
    return cut(", ".join(said), 200) if said else ""


def _ending(status: str) -> str:
    return f"ends as {status} when the last attempt of a step is over"


def _pending(name: str, pending: Pending, now: int) -> str:
    until = "" if pending.due is None else f" until {moment(pending.due, now)}"
    shown = "asyncio" if name.startswith("~") else name
    if pending.kind == "timer":
        return f"{shown}: sleeps{until}"
    if pending.kind == "step":
        return (
            f"{shown}: retries{until.replace('until', 'at')}" if pending.due is not None else f"{shown}: runs"
        )
    if pending.kind == "child":
        return f"{shown}: awaits run {pending.name}{until}"
    return f"{shown}: waits for {'signal ' if pending.kind == 'signal' else ''}{pending.name}{until}"


# --- one run ----------------------------------------------------------------------------------------------------------


def show_run(view: RunView, ops_total: int, now: int) -> None:
    out = console()
    out.print(_heading(view, now))
    facts = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(view, ops_total, now):
        facts.add_row("  " + name, text)
    printed(out, facts)
    if view.steps:
        out.print()
        printed(out, _steps(view.steps, now))
    if view.error is not None:
        out.print()
        out.print(Text(error_line(view.error["type"], view.error["message"], 2_000), style="red"))
        out.print(Text(users_part(view.error["traceback"]), style="dim"))


def _heading(view: RunView, now: int) -> Text:
    text = Text.assemble((view.function, "bold"), "  ", view.id, "  ", status(view.status))
    if view.ended and view.started:
        text.append(f" after {duration(max(view.ended - view.started, 0))}")
    elif view.started:
        text.append(f" for {duration(max(now - view.started, 0))}")
    return text


def _facts(view: RunView, ops_total: int, now: int) -> list[tuple[str, str]]:
    event = view.event
    key = "" if event["key"] == event["id"] else f"  key {event['key']}"
    facts = [
        ("event", f"{event['name']}  {event['id']}{key}"),
        ("data", cut(event["data"].decode(errors="replace"), 400)),
        ("created", _when(view.created, now)),
    ]
    if view.started:
        facts.append(("started", _when(view.started, now)))
    if view.ended:
        facts.append(("ended", _when(view.ended, now)))
    if view.restarts:
        facts.append(
            ("lives", f"{view.restarts + 1:,}: it has begun anew, and its steps are those of the last one")
        )
    if view.parent is not None:
        facts.append(("parent", view.parent))
    facts += [("tags", shortened(view.tags, 400))] if view.tags else []
    facts += [(name, shortened(value, 400)) for name, value in view.values.items()]
    if view.held:
        facts.append(("end", _ending(view.held)))
    if view.reason:
        facts.append(("reason", view.reason))
    if len(view.ops) < ops_total:
        last = f", {last_op(view.ops)}" if view.ops else ""
        facts.append(("at", f"op {len(view.ops)} of {ops_total}{last}"))
    if view.status == "completed":
        facts.append(("result", shortened(view.result, 2_000)))
    return facts


def _when(us: int, now: int) -> str:
    at = moment(us, now)
    return clock(us, parts=True) if at == clock(us) else at


def _steps(steps: Sequence[StepView], now: int) -> Table:
    made = table("STEP", "KIND", "STATUS", "TRIES", "TOOK", "OUTPUT")
    for step in steps:
        took = step.took or (step.ended - step.began if step.ended and step.kind != "start" else 0)
        tries = str(step.attempts) if step.kind == "step" and step.attempts else ""
        made.add_row(
            step.id, step.kind, status(step.status), tries, duration(took) if took else "", _output(step, now)
        )
    return made


def _output(step: StepView, now: int) -> str:
    if step.error is not None:
        again = f" · again at {moment(step.due, now)}" if step.status == "retrying" and step.due else ""
        return error_line(step.error["type"], step.error["message"]) + again
    if step.status == "running":
        return "" if step.due is None else f"until {moment(step.due, now)}"
    return "" if step.output is None else shortened(step.output, 200)


def show_ops(accepted: Sequence[Op], now: int) -> None:
    made = table("OP", "TIME", "WHAT", "STEP", "DETAIL")
    for number, (name, body) in enumerate(accepted, 1):
        time = body.get("time")
        key = str(body.get("key", "")).partition("/")[2]
        rest = {
            field: _plain(value)
            for field, value in body.items()
            if field not in ("key", "time") and value is not None
        }
        made.add_row(
            str(number),
            "" if time is None else _when(time, now),
            name.partition(".")[2],
            key,
            shortened(rest, 160),
        )
    printed(console(), made)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name != "traceback"}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


# --- events -----------------------------------------------------------------------------------------------------------


def show_events(found: Sequence[tuple[int, EventData]], now: int) -> None:
    made = table("SENT", "EVENT", "ID", "KEY", "DATA")
    for ts, event in found:
        key = "" if event["key"] == event["id"] else event["key"]
        later = f"(for {moment(event['ts'], now)}) " if event["ts"] > ts else ""
        made.add_row(
            moment(ts, now),
            event["name"],
            event["id"],
            key,
            later + cut(event["data"].decode(errors="replace"), 200),
        )
    printed(console(), made)


def show_skipped(found: Sequence[Skip], now: int) -> None:
    """Starts that did not happen."""
    made = table("WHEN", "EVENT", "FUNCTION", "WHY")
    for skip in found:
        made.add_row(moment(skip.time, now), skip.event, skip.function or "-", skip.reason)
    printed(console(), made)
