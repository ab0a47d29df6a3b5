"""Identifiers: run ids, step keys, idempotency keys.

A run's id says where its journal is. `1p3-…` is *placed*: generation 1, partition 3. Any other id was chosen by a
user and is *named*: its partition is a hash over generation 1, for ever (A16).
"""

from __future__ import annotations

import hashlib
import re

from perdure.errors import UsageError

RUN_ID_BYTES_MAX = 256
STEP_ID_BYTES_MAX = 256
GENERATED = "~"
"""Event ids that a client made up start with this; they deduplicate its re-sends only."""

BODY = "/~body"
UNTIL = "/~until"
"""The key of the time by which a run has to begin, or to end."""
CANCEL_ON = "/~cancel-on"
"""Begins the keys under which a run hears of events that cancel it."""
WAKING = ""
"""In place of the key of a step in `Resumed`: the body itself."""
"""The key under which a `def` body that raised waits for its next try."""

_PLACED = re.compile(r"(\d{1,9})p(\d{1,9})-[a-z2-7]{20}\Z")
_INDEXED = re.compile(r":\d+\Z")

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # base 32 (RFC 4648), in lower case
_PAIRS = [high + low for high in _LETTERS for low in _LETTERS]
_DIGEST_BITS = 104
_PAIR_SHIFTS = range(_DIGEST_BITS - 10, 3, -10)


def digest(*parts: str | int | bytes) -> str:
    """20 letters and digits (100 bits) that stand for the parts; equal parts, equal digest."""
    h = hashlib.blake2b(digest_size=13)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        h.update(len(data).to_bytes(4, "big"))
        h.update(data)
    # Two letters at a time: base64.b32encode is Python, too, and takes five times as long.
    bits = int.from_bytes(h.digest(), "big")
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _PAIR_SHIFTS])


def placed_run(generation: int, partition: int, *parts: str | int | bytes) -> str:
    """The id of a run that lives in this partition; the parts make it unique."""
    return f"{generation}p{partition}-{digest(*parts)}"


def placement(run_id: str) -> tuple[int, int] | None:
    """Generation and partition of a placed run id; None for a named one."""
    found = _PLACED.match(run_id)
    return (int(found[1]), int(found[2])) if found else None


def named_run(function_id: str, chosen: str) -> str:
    """The id of a run that a user named: unique within its function."""
    if (
        not isinstance(chosen, str)  # pyright: ignore[reportUnnecessaryIsInstance]
        or not chosen
        or len(chosen.encode("utf-8", "surrogatepass")) > RUN_ID_BYTES_MAX
        or not chosen.isprintable()
    ):
        raise UsageError(
            f"a run id must have 1 to {RUN_ID_BYTES_MAX} bytes of printable text, not {chosen!r:.80}"
        )
    return f"{function_id}/{chosen}"


def check_step_id(step_id: object) -> str:
    """The id itself when it may name a step; UsageError says why not."""
    if not isinstance(step_id, str) or not step_id:
        raise UsageError(f"a step needs an id, a non-empty string, as its first argument, not {step_id!r}")
    if len(step_id) > STEP_ID_BYTES_MAX or len(step_id.encode("utf-8", "surrogatepass")) > STEP_ID_BYTES_MAX:
        raise UsageError(f"a step id may have {STEP_ID_BYTES_MAX} bytes; {step_id[:40]!r}… has more")
    if step_id[0] == "~" or _INDEXED.search(step_id):
        raise UsageError(
            f"the step id {step_id!r} looks like one of the engine's own: no leading ~, no :digits at its end"
        )
    if not step_id.isprintable():
        raise UsageError(f"the step id {step_id!r} has characters that cannot be printed")
    return step_id


def shown_step(key: str) -> str:
    """What people see of a step's key: the id, and the index when repeated."""
    return key.partition("/")[2]


def idempotency_key(run_id: str, key: str, app: str = "") -> str:
    """The same for all attempts of a step, and for no other step; with `app`, of no other app either (A12)."""
    run_id = f"{app}/{run_id}" if app else run_id
    return f"{run_id}/{key}" if key[0] != "/" else f"{run_id}{key}"


def fraction(*parts: str | int | bytes) -> float:
    """A number in [0, 1) that stands for the parts: jitter that every reader agrees on."""
    data = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=6).digest(), "big") / 2**48
