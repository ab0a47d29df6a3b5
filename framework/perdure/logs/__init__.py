"""The log's contract and its backends; `open_log` finds the backend for a URL."""

from perdure.logs.contract import (
    NO_HEADERS,
    Done,
    Entry,
    Follower,
    Listener,
    Log,
    LogFull,
    Member,
    Producer,
    Sink,
    Topic,
    partition_count,
)
from perdure.logs.urls import events_topic, open_log

__all__ = [
    "NO_HEADERS",
    "Done",
    "Entry",
    "Follower",
    "Listener",
    "Log",
    "LogFull",
    "Member",
    "Producer",
    "Sink",
    "Topic",
    "events_topic",
    "open_log",
    "partition_count",
]
