"""How times, durations, ids and values read on a terminal."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from perdure.core.ids import placement

SHORT_ID = 6
DIGEST = 20
"""Letters of a placed run's id behind its partition."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_NOT_USERS = re.compile(r"^<|[/\\](?:site|dist)-packages[/\\]")
_OTHERS = (sysconfig.get_path("stdlib"), str(Path(__file__).resolve().parents[1]))
"""The folders of Python itself and of perdure."""
_OWN_FRAME = re.compile(r'  File ".*[/\\]perdure[/\\](?:execution|worker|engine)[/\\]')


def duration(us: int) -> str:
    """12 ms · 2.31 s · 4m 5s · 3h 2m · 6d 4h."""
    for size, below, unit in ((1, 1_000, "µs"), (1_000, 999_500, "ms"), (1_000_000, 59_950_000, "s")):
        if us < below:
            return f"{max(us, 0) / size:.3g} {unit}"
    seconds = round(us / 1_000_000)
    big = next(number for number, (size, _) in enumerate(_UNITS) if seconds >= size)
    (size, name), (part, part_name) = _UNITS[big : big + 2]
    rest = seconds % size // part
    return f"{seconds // size}{name}" + (f" {rest}{part_name}" if rest else "")


def clock(us: int, *, parts: bool = False) -> str:
    """The local time of day; with milliseconds when `parts`."""
    text = _local(us).strftime("%H:%M:%S")
    return f"{text}.{us // 1_000 % 1_000:03d}" if parts else text


def moment(us: int, now: int) -> str:
    """A local time, with as much of the date as is needed."""
    at, today = _local(us), _local(now)
    if at.date() == today.date():
        return at.strftime("%H:%M:%S")
    if abs(us - now) < 300 * 86_400 * 1_000_000:
        return at.strftime("%a %d %b %H:%M")
    return at.strftime("%d %b %Y %H:%M")


def _local(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC).astimezone()


def iso(us: int) -> str | None:
    """The instant for programs, in UTC; None for one that has not come."""
    if not us:
        return None
    return (
        datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{us % 1_000_000:06d}Z"
    )


def short_id(run_id: str) -> str:
    """What a run is called in lists: enough to find it by."""
    return run_id if placement(run_id) is None else tail(run_id)[: len(tail(run_id)) - DIGEST + SHORT_ID]


def tail(run_id: str) -> str:
    """The part of an id that tells runs apart: 3-k3x9ab… of 1p3-k3x9ab…, and what the user chose of a named run."""
    return run_id.partition("p" if placement(run_id) is not None else "/")[2] or run_id


def shortened(value: object, width: int) -> str:
    """A value as JSON on one line, cut to a width."""
    return cut(json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":")), width)


def cut(text: str, width: int) -> str:
    """Text on one line, cut to a width."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def cut_middle(text: str, width: int) -> str:
    """Text on one line, without its middle if it is too long: a message ends with what to do."""
    line = " ".join(text.split())
    begin = (width - 1) // 2
    return line if len(line) <= width else f"{line[:begin].rstrip()}…{line[begin + 1 - width :].lstrip()}"


def error_line(error_type: str, message: str, width: int = 200) -> str:
    """An error on one line: perdure's own by their short names."""
    name = error_type.rpartition(".")[2] if error_type.startswith("perdure.") else error_type
    return cut_middle(f"{name}: {message}" if message else name, width)


def failing_line(traceback: str) -> str:
    """`shop.py:12`: the user's line that an error came through last; empty when the traceback has none."""
    frames: list[tuple[str, str]] = _FRAME.findall(traceback)
    users = [
        (file, line) for file, line in frames if not (_NOT_USERS.search(file) or file.startswith(_OTHERS))
    ]
    if not users:
        return ""
    file, line = users[-1]
    return f"{shown_path(file)}:{line}"


def shown_path(path: str | Path) -> str:
    """A path as people write it: from the working directory when it is below that."""
    full = Path(path)
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full)


def users_part(traceback: str) -> str:
    """A traceback without the frames of perdure that lie between the user's."""
    kept: list[str] = []
    own = False
    for line in traceback.rstrip().splitlines():
        if line.startswith('  File "'):
            own = _OWN_FRAME.match(line) is not None
        elif not line.startswith("    "):
            own = False
        if not own:
            kept.append(line)
    return "\n".join(kept)


def listed(names: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    known = list(names)
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} {last} {known[-1]}" if known else "none"


def counted(number: int, what: str, many: str = "") -> str:
    """1 run, 2 runs."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"
