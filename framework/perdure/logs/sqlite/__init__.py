"""The embedded log: one SQLite file, shared by the processes of one machine."""

from perdure.logs.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
