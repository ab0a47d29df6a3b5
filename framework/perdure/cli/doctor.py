"""`perdure doctor`."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from perdure.cli.commands import Command
from perdure.cli.options import JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.core.state import Run
    from perdure.index.reader import JournalReader
    from perdure.logs import Log

SHOWN_MAX = 50
REASON_WIDTH = 300


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", cls=Command)(doctor)


def doctor(log: LogOption = None, json: JsonOption = False) -> None:
    """Prove that nothing is lost: fold the whole log, and check that every live run waits for something.

    Exit code 1 when a rule is broken. A worker may be running meanwhile.

    [dim]Example:[/]  perdure doctor --log sqlite:///backup.db
    """
    from perdure.cli.shapes import dumped

    found = asyncio.run(_examined(log))
    if json:
        typer.echo(dumped(found))
    else:
        _show(found)
    raise typer.Exit(1 if found["violations"] else 0)


async def _examined(given: str | None) -> dict[str, Any]:
    """Everything that is known of a log, as `--json` prints it."""
    from perdure.cli.places import file_of, opened, shown_log, url_of
    from perdure.client.letters import dead_letters
    from perdure.core.facts import UNDECODABLE
    from perdure.core.invariants import check, check_between
    from perdure.index.reader import JournalReader

    url = url_of(given)
    async with opened(url) as log:
        reader = JournalReader(log)
        await reader.read()
        states = [partition.state for partition in reader.partitions]
        violations = [*(found for state in states for found in check(state)), *check_between(states)]
        voids: Counter[str] = Counter()
        for state in states:
            voids.update(state.voids)
        letters = [letter for letter in await dead_letters(log) if letter.redriven is None]
        partitions = [await _partition(log, reader, number) for number in range(log.partitions)]
        cautions = await _cautions(log, url)
    file = file_of(url)
    return {
        "log": shown_log(url),
        "bytes": None
        if file is None
        else sum(part.stat().st_size for part in file.parent.glob(file.name + "*") if part.is_file()),
        "runs": dict(Counter(run.status for state in states for run in state.runs.values())),
        "voids": dict(voids),
        "undecodable": voids[UNDECODABLE],
        "dead_letters": len(letters),
        "partitions": partitions,
        "cautions": cautions,
        "violations": [
            {"partition": v.partition, "rule": v.rule, "subject": v.subject, "detail": v.detail}
            for v in violations
        ],
        "still": [_still(run) for state in states for run in state.live_runs() if _waits_for_a_person(run)],
        "ok": not violations,
    }


async def _cautions(log: Log, url: str) -> list[str]:
    """What a log on Kafka has to say of how its topics are kept."""
    if not url.startswith("kafka:"):
        return []
    from perdure.logs.kafka import KafkaLog

    assert isinstance(log, KafkaLog)
    return list(await log.cautions())


def _waits_for_a_person(run: Run) -> bool:
    """A paused run whose resume is in the log waits for a worker; a parked one for code, which a person writes."""
    return run.status == "parked" or (run.status == "paused" and not _resume_asked(run))


def _resume_asked(run: Run) -> bool:
    return any(item.name == "perdure.ResumeAsk" for item in run.inbox)


def _still(run: Run) -> dict[str, Any]:
    return {"id": run.id, "status": run.status, "reason": run.reason, "resume_asked": _resume_asked(run)}


async def _partition(log: Log, reader: JournalReader, number: int) -> dict[str, Any]:
    from perdure.logs import Topic

    state = reader.partitions[number].state
    first, end = await log.bounds(Topic.JOURNAL, number)
    has_events = number < log.generations[0]
    events_end = (await log.bounds(Topic.EVENTS, number))[1] if has_events else 0
    return {
        "partition": number,
        "epoch": state.epoch,
        "led": bool(state.epoch) and not state.clean,
        "runs": len(state.runs),
        "live": sum(1 for _ in state.live_runs()),
        "journal": [first, end],
        "events_unrouted": max(events_end - state.next, 0),
        "delayed_events": len(state.delayed),
        "outbox": sum(len(queue) for queue in state.outbox.values()),
    }


def _show(found: dict[str, Any]) -> None:
    from rich.text import Text

    from perdure.cli.showing import console, status
    from perdure.cli.wording import counted

    out = console()
    parts = found["partitions"]
    entries = sum(part["journal"][1] - part["journal"][0] for part in parts)
    size = "" if found["bytes"] is None else f", {_bytes(found['bytes'])}"
    out.print(
        f"{found['log']}: {counted(len(parts), 'partition')}, {counted(entries, 'record')} in the journal{size}"
    )
    unrouted = sum(part["events_unrouted"] for part in parts)
    runs = Text("runs     ", style="dim")
    for name, number in sorted(found["runs"].items(), key=lambda item: -item[1]):
        runs.append(f"{number:,} ", style="default").append_text(status(name)).append("   ")
    out.print(runs if found["runs"] else Text("runs     none", style="dim"))
    if unrouted:
        out.print(
            Text(
                f"events   {counted(unrouted, 'entry', 'entries')} not routed yet: a worker does that",
                style="yellow",
            )
        )
    for reason, number in sorted(found["voids"].items(), key=lambda item: -item[1]):
        out.print(Text(f"void     {number:,} × {reason}", style="dim"))
    if found["undecodable"]:
        out.print(
            Text(
                f"warning  {counted(found['undecodable'], 'record')} cannot be read by this version of perdure: "
                "garbage, or written by another version. Runs may look younger than they are.",
                style="yellow",
            )
        )
    if found["dead_letters"]:
        said = f"dead     {counted(found['dead_letters'], 'dead letter')}: perdure dead-letters list"
        out.print(Text(said, style="yellow"))
    for caution in found["cautions"]:
        out.print(Text(f"look     {caution}", style="yellow"))
    _show_verdict(found, sum(part["live"] for part in parts))


def _show_verdict(found: dict[str, Any], live: int) -> None:
    from rich.text import Text

    from perdure.cli.showing import console, printed, table
    from perdure.cli.wording import counted

    out = console()
    violations = found["violations"]
    if not violations:
        out.print(Text(f"ok       every rule holds; {_waits(live, len(found['still']))}", style="green"))
        _show_still(found["still"])
        return
    out.print(Text(f"broken   {counted(len(violations), 'violation')}", style="red"))
    made = table("PARTITION", "RULE", "WHERE", "WHAT")
    for violation in violations[:SHOWN_MAX]:
        made.add_row(
            str(violation["partition"]), violation["rule"], violation["subject"], violation["detail"]
        )
    printed(out, made)
    if len(violations) > SHOWN_MAX:
        out.print(Text(f"… and {len(violations) - SHOWN_MAX} more: --json has all", style="dim"))


def _waits(live: int, still: int) -> str:
    """What the live runs wait for."""
    from perdure.cli.wording import counted

    if not live:
        return "no run is live"
    if still in (0, live):
        does = "waits" if live == 1 else "all wait"
        what = "a person" if still else "something that will come"
        return f"{counted(live, 'live run')} {does} for {what}"
    come = live - still
    return (
        f"of {live:,} live runs {come:,} {'waits' if come == 1 else 'wait'} for something that will come, "
        f"{still:,} for a person"
    )


def _show_still(still: list[dict[str, Any]]) -> None:
    """The runs that wait for a person, each with the command that is wanted."""
    from rich.text import Text

    from perdure.cli.showing import console
    from perdure.cli.wording import cut_middle, short_id

    out = console()
    for run in still[:SHOWN_MAX]:
        reason = f": {cut_middle(run['reason'], REASON_WIDTH)}" if run["reason"] else ""
        if run["resume_asked"]:
            want = "it goes on as soon as code that fits is loaded"
        else:
            want = f"{'mend it, then: ' if run['status'] == 'parked' else ''}perdure runs resume {short_id(run['id'])}"
        out.print(Text(f"{run['status']:<8} {short_id(run['id'])}{reason} · {want}", style="yellow"))
    if len(still) > SHOWN_MAX:
        out.print(Text(f"… and {len(still) - SHOWN_MAX} more: --json has all", style="dim"))


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
