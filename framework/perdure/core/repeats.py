"""What an event says, as a digest of it: by this a repeat of an id is told from another event under the same id."""

from __future__ import annotations

import json
from hashlib import blake2b

from perdure.core.ids import GENERATED
from perdure.core.ops import EventData

__all__ = ["Digests", "digest"]

DIGEST_BYTES = 8
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def digest(event: EventData) -> bytes:
    """Of its name, version and data, however that is spelled. Times and traces differ from one sending to the next."""
    data = event["data"]
    try:
        data = _sorted.encode(json.loads(data)).encode()
    except (ValueError, RecursionError):
        pass  # not JSON: as it is
    said = blake2b(digest_size=DIGEST_BYTES)
    for part in (
        event["name"].encode(errors="surrogatepass"),
        (event["v"] or "").encode(errors="surrogatepass"),
    ):
        said.update(len(part).to_bytes(4, "big") + part)
    said.update(data)
    return said.digest()


class Digests:
    """Digests as they are recorded: plain ones, which say nothing that the event beside them does not."""

    def of(self, event: EventData) -> bytes:
        """What to record for an event, its data opened. Empty for an id that a client made up: nobody repeats it but
        that client, which sends the same."""
        return b"" if event["id"].startswith(GENERATED) else self._recorded(digest(event))

    def fits(self, recorded: bytes, event: EventData) -> bool:
        """Whether an event says what was recorded. What is not known is not held against it."""
        known = self._known(recorded) if recorded else None
        return known is None or known == digest(event)

    def _recorded(self, said: bytes) -> bytes:
        return said

    def _known(self, recorded: bytes) -> bytes | None:
        return recorded
