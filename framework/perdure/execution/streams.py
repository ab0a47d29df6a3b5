"""Random numbers that depend on the run and the task alone."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from uuid import UUID

from perdure.execution.tasks import RunTask, Scope

__all__ = ["next_uuid", "stream_of"]


def stream_of(run_id: str, scope: RunTask | Scope) -> Random:
    """The task's own stream; made at its first use."""
    rng = scope.rng
    if rng is None:
        rng = scope.rng = Random(_digest("random", run_id, scope.path, 0))
    return rng


def next_uuid(run_id: str, scope: RunTask | Scope) -> UUID:
    """The task's next UUID. It does not touch the stream of numbers."""
    scope.uuids += 1
    return UUID(bytes=_digest("uuid", run_id, scope.path, scope.uuids), version=4)


def _digest(use: str, run_id: str, path: str, number: int) -> bytes:
    text = f"{use}\0{run_id}\0{path}\0{number}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
