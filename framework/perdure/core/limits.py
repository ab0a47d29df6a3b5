"""Every bound of the engine, in one place. Names end in `_max`; units are in the names, counts otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from perdure.errors import PayloadTooLarge

KB = 1024
MB = 1024 * 1024
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that hold for one app. The defaults suit a service; change them with `App(limits=…)`.

    Those in `FOLDED` decide what a state is, and every reader of a log must come to the same: they stand in the log,
    with the definitions of the functions, and hold for all workers as the newest deploy has them.
    """

    event_name_bytes_max: int = 256
    event_bytes_max: int = 256 * KB
    """An event's data, as JSON."""
    payload_bytes_max: int = 384 * KB
    """A step's result, a run's result, a signal's data, as a record holds it. Larger results go to the store of
    payloads, where there is one."""
    stored_payload_bytes_max: int = 256 * MB
    """A step's or a run's result that goes to the store of payloads, as JSON."""
    payload_store_time_max: int = 10 * MINUTE_US
    """How long a run waits for a store of payloads that cannot be reached (µs); then it is parked."""
    payload_time_max: int = 7 * DAY_US
    """How long after it was last put an object stays in the store of payloads although nothing refers to it (µs)."""
    entry_bytes_max: int = 1 * MB
    """One entry of the log, whatever it holds."""
    dead_letter_bytes_max: int = 64 * KB
    """Of an entry that nobody can read or route, so much goes to the dead letters."""
    commit_bytes_max: int = 512 * KB
    """A commit ends at a turn's boundary once it is this large (A7)."""
    commit_ops_max: int = 1_000
    turn_asks_max: int = 10_000
    """What a body may ask for in one turn."""
    turn_callbacks_max: int = 20_000
    """Callbacks of the run's event loop in one turn; more, and the turn does not settle."""
    turn_time_max: int = 10 * SECOND_US
    """How long an `async def` body may compute in one turn (µs); all other runs of its worker wait meanwhile."""
    held_time_max: int = 5 * MINUTE_US
    """How long one step or body may hold the event loop of a process that is a worker and nothing else (µs): then the
    process ends with exit code 70. 0: for ever."""
    run_ops_max: int = 50_000
    run_bytes_max: int = 32 * MB
    """A run's history, in ops and bytes."""
    seen_events_max: int = 256
    """Ids of events that a run takes with it when it begins anew, so that no wait of it is given one twice: the latest.
    """
    passed_events_max: int = 5_000
    """Ids of events that a wait let pass after it had fallen behind, so that it is not given them again. Of more, the
    older half are offered to it once more."""
    invoke_depth_max: int = 100
    """How many runs may wait for one another in a row: an invoke below these is refused."""
    requests_max: int = 64
    """Requests to a run that are not answered, and answers that it remembers for clients who ask again."""
    inbox_max: int = 1_000
    """Commands and messages that wait for a run's next turn."""
    outbox_max: int = 10_000
    """Messages to one partition that are not yet known to be appended; past it, ingest waits."""
    ingest_events_max: int = 500
    """Events routed by one record."""
    ingest_bytes_max: int = 384 * KB
    events_buffered_max: int = 1_000
    """Events read ahead of their routing, per partition."""
    events_waiting_max: int = 5_000
    """Events of a partition that its worker has not taken up; past it, senders wait for it if it is there. 0: never."""
    event_ids_max: int = 10_000
    """Event ids remembered as they are, about 200 bytes each, per partition and kind; older ones as digests of 16."""
    old_event_ids_max: int = 1_000_000
    """Event ids remembered as digests, per partition: with so many more within `event_id_time_max`, the oldest are
    forgotten before their time, and a repeat of one of these is a new event."""
    event_id_time_max: int = DAY_US
    generated_id_time_max: int = 10 * MINUTE_US
    """How long an id is remembered that the client made up, for its own re-sends only (µs)."""
    ended_runs_max: int = 10_000
    """Ended runs kept in a partition's state, for handles and listings."""
    ended_run_time_max: int = DAY_US
    ended_bytes_max: int = 64 * MB
    """Results, events and values of the ended runs that a partition keeps."""
    ended_ids_max: int = 1_000_000
    """Ids given by users whose runs have ended and are forgotten, per partition: while an id is among them, no run of
    that id starts."""
    ended_id_time_max: int = 30 * DAY_US
    """How long after its end a run's id stays among them (µs)."""
    commands_max: int = 256
    """Command ids that a run remembers."""
    idempotency_keys_max: int = 1_000_000
    """Idempotency keys remembered as digests of 16 bytes, per partition: with so many more within their time, the
    oldest are forgotten before it."""
    gates_max: int = 100_000
    """Keys of rate limits and throttles that a partition counts by; of more, those are forgotten that are nearest to
    their end."""
    kept_events_max: int = 1_000
    """Events that a cell remembers for waits which reach it late."""
    kept_event_time_max: int = 10 * MINUTE_US
    kept_bytes_max: int = 32 * MB
    """Memory for the events that all cells of a partition keep; what is dropped sooner is found by a search (A2)."""
    armed_paths_max: int = 1_000
    delayed_events_max: int = 100_000
    """Events with a time in the future, per partition; those beyond it become dead letters."""
    ticks_waiting_max: int = 100
    """Ticks of a schedule that wait for the run of the one before (`overlap="buffer"`)."""
    schedules_max: int = 10_000
    """Schedules made at run time, per partition: about 600 bytes each."""
    ticks_missed_max: int = 1_000
    """Ticks of a schedule that are made up for when no worker was there for them; of more, the newest."""
    watchers_max: int = 64
    """Clients that wait for one run."""
    resident_runs_max: int = 20_000
    """Runs whose coroutine is kept in memory, per partition."""
    resident_idle_us_max: int = 60 * SECOND_US
    """A run that nothing is due for within this time may be evicted."""
    dormant_runs_max: int = 500
    """Runs that only wait, and cells that only have waits, that a partition keeps as objects: about 2.5 KB each. More
    are packed: 16 to 32 bytes each in memory, the rest in a temporary file. What has ended is packed by snapshots."""
    packed_run_bytes_max: int = 64 * KB
    """A run with a longer history is not packed; that lies in a temporary file all the same. Nor is one that has ended
    with a longer result, event and values."""
    spilled_history_bytes_min: int = 4 * KB
    """A history of so many bytes goes to the file as soon as its run rests, packed or not."""
    runs_under_way_max: int = 500
    """Attempts that wait for a slot of the worker, and runs whose commit is on its way through the log, per process;
    past it, ingest waits: events that nobody has time for take less room in the log than runs take in memory."""
    attempts_running_max: int = 10_000
    """Attempts handed to the worker and not finished, per process."""
    timers_tick_max: int = 1_000
    """Timers fired before other work gets a turn."""
    scan_entries_max: int = 500
    """Events read by one step of a search for earlier events."""
    graveyard_max: int = 100
    """Torn-down coroutines that refuse to end."""
    traceback_bytes_max: int = 8 * KB
    snapshot_tail_bytes_min: int = 4 * MB
    """A snapshot is taken when the journal's tail outgrows the larger of this and a quarter of the last snapshot: a
    successor reads so much before it leads, and to fold a byte of a journal takes ten times as long as to take over one
    of a snapshot."""
    snapshot_time_max: int = DAY_US
    """How old a record may be that no snapshot has, on a log that drops what is old by itself (µs)."""
    snapshot_sets_max: int = 2
    snapshot_chunk_bytes_max: int = 512 * KB
    history_time_max: int = 7 * DAY_US
    """How long the journal is kept behind snapshots (µs)."""
    event_time_max: int = 7 * DAY_US
    """How long events are kept once they were routed (µs): so far a wait can look back."""
    reply_time_max: int = HOUR_US
    """How long answers to clients are kept (µs)."""
    dead_letter_time_max: int = 90 * DAY_US
    """How long what nobody could read or route is kept (µs)."""
    takeovers_alone_max: int = 3
    """A step that was alone in flight when its worker died this often is failed; so is a run that was woken alone (A8).
    """

    def fault(self, what: str, size: int) -> PayloadTooLarge | None:
        """The error of a value that is too large even for the store of payloads, where there is one."""
        if size <= max(self.payload_bytes_max, self.stored_payload_bytes_max):
            return None
        if self.stored_payload_bytes_max:
            return PayloadTooLarge(
                f"{what} has {size:,} bytes of JSON, more than Limits.stored_payload_bytes_max = "
                f"{self.stored_payload_bytes_max:,}; store it elsewhere, and hand on where it is"
            )
        return PayloadTooLarge(
            f"{what} has {size:,} bytes of JSON, more than Limits.payload_bytes_max = {self.payload_bytes_max:,}; "
            "store it elsewhere, and hand on where it is, or give this app a store of payloads: "
            "App(payloads=Payloads(store=...))"
        )

    def folded(self) -> dict[str, int]:
        """What of this stands in the log."""
        return {name: getattr(self, name) for name in FOLDED}

    def folding(self, recorded: Mapping[str, int]) -> Limits:
        """These, but for what the log says. Names that this version does not know are of another one."""
        known = {name: recorded[name] for name in FOLDED if name in recorded}
        return replace(self, **known) if known else self


FOLDED = (
    "commands_max", "ended_bytes_max", "ended_id_time_max", "ended_ids_max", "ended_run_time_max", "ended_runs_max",
    "event_id_time_max", "event_ids_max", "gates_max", "generated_id_time_max", "idempotency_keys_max", "inbox_max",
    "kept_bytes_max", "kept_event_time_max", "kept_events_max", "old_event_ids_max", "passed_events_max",
    "requests_max", "schedules_max", "seen_events_max", "snapshot_sets_max", "watchers_max",
)  # fmt: skip
"""The bounds that the fold knows."""

DEFAULT_LIMITS = Limits()
