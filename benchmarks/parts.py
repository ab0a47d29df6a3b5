"""What can be measured: the parts, the script of each, and the figures of its cells beside their budgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from table import spread_of

Cell = dict[str, Any]
FANOUT_WHAT = "100 parallel steps and a reduce"


class Figure(NamedTuple):
    """One line of the table. Places are dotted: `engine.p50_ms` is `cell["engine"]["p50_ms"]`."""

    cell: str
    label: str
    unit: str
    of: str
    floor: str = ""
    """Where the floor's is; "" when there is none."""
    budget: str = ""
    """Of the design, on two quiet cores: "<= 2" or ">= 15000"."""
    on_kafka: str = ""
    """The same for a log on Kafka."""


class Part(NamedTuple):
    """What one script measures in one repetition."""

    script: str
    figures: tuple[Figure, ...]
    what: str
    words: tuple[str, ...] = ()
    repetitions: int = 5
    log: bool = True
    """Whether the log matters; what does not touch one is measured on the embedded log alone."""


def _both(cell: str, label: str, unit: str, name: str, budget: str = "", on_kafka: str = "") -> Figure:
    return Figure(cell, label, unit, f"engine.{name}", f"floor.{name}", budget, on_kafka)


def _own(
    cell: str, label: str, unit: str, name: str, budget: str = "", on_kafka: str | None = None
) -> Figure:
    return Figure(cell, label, unit, name, "", budget, budget if on_kafka is None else on_kafka)


STEPS = (
    _both("W1", "p50", "ms", "p50_ms"),
    _both("W1", "p99", "ms", "p99_ms"),
    _both("W2", "p50", "ms", "p50_ms", "<= 2", "<= 5"),
    _both("W2", "p99", "ms", "p99_ms", "<= 5", "<= 15"),
    _both("W3", "p50", "ms", "p50_ms", "<= 15", "<= 15"),
    _both("W3", "p99", "ms", "p99_ms"),
    _both("W2x200", "throughput", "steps/s", "steps_per_s", ">= 15000", ">= 12000"),
    _both("W2x200", "CPU per 1,000 steps", "s", "cpu_s_per_1000", "<= 0.10", "<= 0.11"),
    _both("W2x200", "p50", "ms", "p50_ms"),
    _own("W2x200", "log per step", "bytes", "log_bytes_per_step", "<= 300"),
    _own("W2x200", "entries per run", "", "entries_per_run"),
)
CROWD = (
    _both("W2x1000", "throughput", "steps/s", "steps_per_s", ">= 15000", ">= 15000"),
    _both("W2x1000", "CPU per 1,000 steps", "s", "cpu_s_per_1000"),
    _both("W2x1000", "p50", "ms", "p50_ms"),
)
TRACED = (
    _both("W2x200 traced", "throughput", "steps/s", "steps_per_s"),
    _both("W2x200 traced", "CPU per 1,000 steps", "s", "cpu_s_per_1000", "<= 0.14"),
    _own("W2x200 traced", "CPU per 1,000 steps, untraced", "s", "untraced.cpu_s_per_1000"),
    _own("W2x200 traced", "spans per step", "", "spans_per_step"),
)


def _arrival(cell: str, budgets: tuple[str, str], on_kafka: tuple[str, str]) -> tuple[Figure, ...]:
    return (
        _both(cell, "p50", "ms", "p50_ms", budgets[0], on_kafka[0]),
        _both(cell, "p99", "ms", "p99_ms", budgets[1], on_kafka[1]),
        _own(cell, "p50 since it was accepted", "ms", "engine.p50_accepted_ms"),
        _own(cell, "p99 since it was accepted", "ms", "engine.p99_accepted_ms"),
        _own(cell, "sender late, p99", "ms", "engine.p99_late_ms"),
    )


EVENTS = (
    *_arrival("E500", ("<= 2", "<= 10"), ("", "")),
    *_arrival("E500 far", ("<= 2", "<= 10"), ("<= 5", "<= 30")),
)


def _fold(cell: str, budget: str) -> tuple[Figure, ...]:
    return (
        _own(cell, "fold", "records/s", "engine.fold_records_per_s", budget),
        _own(cell, "fold", "ops/s", "engine.fold_ops_per_s"),
        _own(cell, "read and fold", "records/s", "engine.read_records_per_s"),
        _own(cell, "read and fold", "ops/s", "engine.read_ops_per_s"),
        _own(cell, "ops per record", "", "engine.ops_per_record"),
    )


FOLD = (*_fold("fold one at a time", ">= 150000"), *_fold("fold x200", ""))
LENGTHS = (
    _own("10,000 steps", "step of a run of 10", "ms", "engine.step_of_short_ms"),
    _own("10,000 steps", "step of a run of 10,000", "ms", "engine.step_of_long_ms"),
    _own("10,000 steps", "ratio of the two", "", "engine.ratio", "<= 1.15"),
    _own("10,000 steps", "ratio, the last 1,000", "", "engine.last_ratio", "<= 1.15"),
)
ASLEEP = (
    _own("100,000 asleep", "CPU per step, ratio to beside 1", "", "engine.cpu_ratio", "<= 1.15"),
    _own("100,000 asleep", "W2 p50, ratio to beside 1", "", "engine.alone_ratio", "<= 1.15"),
    _own("100,000 asleep", "W2x200 time per step, ratio to beside 1", "", "engine.time_ratio", "<= 1.15"),
    _own("100,000 asleep", "the same of the floor", "", "engine.floor_ratio"),
    _own("100,000 asleep", "filled", "runs/s", "engine.filled_per_s"),
)
WAITERS = (
    _own("W7", "events that match none", "events/s", "engine.none.events_per_s", ">= 20000"),
    _own("W7", "events that match one each", "events/s", "engine.one.events_per_s", ">= 20000"),
    _own("W7", "CPU per event that matches none", "µs", "engine.none.cpu_us_per_event"),
    _own("W7", "CPU per event that matches one", "µs", "engine.one.cpu_us_per_event"),
    _own("W7", "filled", "runs/s", "engine.filled_per_s"),
)
TAKEOVER = (
    _own("takeover", "kill -9 to the first step", "s", "engine.killed.first_s", "<= 1", "<= 12"),
    _own("takeover", "kill -9 to a step in each partition", "s", "engine.killed.all_s"),
    _own("takeover", "SIGTERM to the first step", "s", "engine.left.first_s", "<= 3"),
    _own("takeover", "SIGTERM to a step in each partition", "s", "engine.left.all_s", "<= 3"),
    _own("takeover", "filled, by two workers", "runs/s", "engine.filled_per_s"),
)
SHARING = (
    _own("two workers", "W2x400 with one", "steps/s", "engine.one.steps_per_s"),
    _own("two workers", "W2x400 with two", "steps/s", "engine.two.steps_per_s"),
    _own("two workers", "gain", "", "engine.gain"),
    _own("two workers", "cores of the one", "", "engine.one.workers_cores"),
    _own("two workers", "cores of the two", "", "engine.two.workers_cores"),
    _own("two workers", "cores of the client, beside two", "", "engine.two.client_cores"),
    _own("two workers", "cores of the broker and others, beside two", "", "engine.two.others_cores"),
    _own("two workers", "cores idle, beside two", "", "engine.two.idle_cores"),
)

PARTS: dict[str, Part] = {
    "steps": Part(
        "repetition.py",
        STEPS,
        f"W1: one step; W2: three steps in sequence; W3: {FANOUT_WHAT}; x200: in flight at once",
    ),
    "crowd": Part("repetition.py", CROWD, "W2 with 1,000 in flight", ("--crowd", "1000")),
    "traced": Part("traced.py", TRACED, "W2x200 with spans of all runs and steps"),
    "events": Part(
        "arrivals.py", EVENTS, "from when an event is due to the first line of its function, 500/s"
    ),
    "fold": Part("folding.py", FOLD, "records of W2 folded", log=False),
    "lengths": Part("lengths.py", LENGTHS, "a step of a run of 10,000 beside one of a run of 10"),
    "asleep": Part("asleep.py", ASLEEP, "W2 beside 100,000 sleeping runs", repetitions=3),
    "waiters": Part("waiters.py", WAITERS, "events against 100,000 waits for one event name", repetitions=3),
    "takeover": Part("takeover.py", TAKEOVER, "100,000 live runs whose owner goes", repetitions=3),
    "sharing": Part("sharing.py", SHARING, "W2x400 with one worker process and with two", repetitions=3),
}
DEFAULT = ("steps",)


def value_of(cell: Cell, place: str) -> float:
    """What stands at a dotted place."""
    found: Any = cell
    for name in place.split("."):
        found = found[name]
    return found


def summary(part: str, repetitions: Iterable[dict[str, Any]], *, kafka: bool) -> list[dict[str, Any]]:
    """Each figure over all repetitions; a ratio is that of one repetition to its own floor."""
    rows: list[dict[str, Any]] = []
    measured = [one["cells"] for one in repetitions if one["part"] == part]
    for figure in PARTS[part].figures:
        cells = [cells[figure.cell] for cells in measured]
        row: dict[str, Any] = {"part": part, "cell": figure.cell, "figure": figure.label, "unit": figure.unit}
        row["budget"] = figure.on_kafka if kafka else figure.budget
        row["engine"] = spread_of(value_of(cell, figure.of) for cell in cells)
        if figure.floor:
            row["floor"] = spread_of(value_of(cell, figure.floor) for cell in cells)
            row["ratio"] = spread_of(
                value_of(cell, figure.of) / value_of(cell, figure.floor) for cell in cells
            )
        rows.append(row)
    return rows
