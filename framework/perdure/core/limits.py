"""Every bound of the engine, in one place. Names end in `_max`; units are in the names, counts otherwise."""

from __future__ import annotations

from dataclasses import dataclass

KB = 1024
MB = 1024 * 1024
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that hold for one app. The defaults suit a service; change them with `App(limits=…)`."""

    event_name_bytes_max: int = 256
    event_bytes_max: int = 256 * KB
    """An event's data, as JSON."""
    payload_bytes_max: int = 384 * KB
    """A step's result, a run's result, a signal's data, as JSON."""
    entry_bytes_max: int = 1 * MB
    """One entry of the log, whatever it holds."""
    commit_bytes_max: int = 512 * KB
    """A commit ends at a turn's boundary once it is this large (A7)."""
    commit_ops_max: int = 1_000
    turn_asks_max: int = 10_000
    """What a body may ask for in one turn."""
    turn_callbacks_max: int = 20_000
    """Callbacks of the run's event loop in one turn; more, and the turn does not settle."""
    turn_time_max: int = 10 * SECOND_US
    """How long an `async def` body may compute in one turn (µs); all other runs of its worker wait meanwhile."""
    run_ops_max: int = 50_000
    run_bytes_max: int = 32 * MB
    """A run's history, in ops and bytes."""
    inbox_max: int = 1_000
    """Commands and messages that wait for a run's next turn."""
    outbox_max: int = 10_000
    """Messages to one partition that are not yet known to be appended; past it, ingest waits."""
    ingest_events_max: int = 500
    """Events routed by one record."""
    ingest_bytes_max: int = 384 * KB
    events_buffered_max: int = 5_000
    """Events read ahead of their routing, per partition."""
    event_ids_max: int = 100_000
    """Event ids remembered for deduplication, per partition."""
    event_id_time_max: int = DAY_US
    generated_id_time_max: int = 10 * MINUTE_US
    """How long an id is remembered that the client made up, for its own re-sends only (µs)."""
    ended_runs_max: int = 10_000
    """Ended runs kept in a partition's state, for handles and listings."""
    ended_run_time_max: int = DAY_US
    commands_max: int = 256
    """Command ids that a run remembers."""
    kept_events_max: int = 1_000
    """Events that a cell remembers for waits which reach it late."""
    kept_event_time_max: int = 10 * MINUTE_US
    armed_paths_max: int = 1_000
    delayed_events_max: int = 100_000
    """Events with a time in the future, per partition; past it, ingest waits until some have come due."""
    watchers_max: int = 64
    """Clients that wait for one run."""
    resident_runs_max: int = 20_000
    """Runs whose coroutine is kept in memory, per partition."""
    resident_idle_us_max: int = 60 * SECOND_US
    """A run that nothing is due for within this time may be evicted."""
    attempts_running_max: int = 10_000
    """Attempts handed to the worker and not finished, per process."""
    timers_tick_max: int = 1_000
    """Timers fired before other work gets a turn."""
    scan_entries_max: int = 500
    """Events read by one step of a search for earlier events."""
    graveyard_max: int = 100
    """Torn-down coroutines that refuse to end."""
    traceback_bytes_max: int = 8 * KB
    snapshot_tail_bytes_min: int = 16 * MB
    """A snapshot is taken when the journal's tail outgrows the larger of this and the state."""
    snapshot_sets_max: int = 2
    snapshot_chunk_bytes_max: int = 512 * KB
    history_time_max: int = 7 * DAY_US
    """How long the journal is kept behind snapshots."""
    takeovers_alone_max: int = 3
    """A step that was alone in flight when its worker died this often is failed (A8)."""


DEFAULT_LIMITS = Limits()
