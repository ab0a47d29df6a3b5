"""What heartbeats said, kept from an attempt that failed to the one after it."""

from __future__ import annotations

from collections import OrderedDict

from perdure.core import payload
from perdure.errors import PayloadTooLarge

__all__ = ["Details", "encoded_details"]

_BYTES_MAX = 64 * 1024
"""The details of one heartbeat, as JSON."""
_KEPT_BYTES_MAX = 16 * 1024 * 1024
_KEPT_MAX = 10_000


def encoded_details(details: object) -> bytes:
    """Details as JSON, so that a step that goes on changing them changes nothing here.

    Raises EncodingError if they are no JSON, PayloadTooLarge past 64 KB.
    """
    data = payload.dumps(details, what="the details of a heartbeat")
    if len(data) > _BYTES_MAX:
        raise PayloadTooLarge(
            f"the details of a heartbeat are {len(data)} bytes, at most {_BYTES_MAX} are kept; say where the step is, "
            "and keep the data elsewhere"
        )
    return data


class Details:
    """Details by run and step key. In memory: after a crash or a change of owner a step begins without."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def keep(self, step: tuple[str, str], data: bytes) -> None:
        """Keeps them for the next attempt. Past the bound the oldest are forgotten: they save work, no more."""
        self.take(step)
        self._kept[step] = data
        self._bytes += len(data)
        while self._bytes > _KEPT_BYTES_MAX or len(self._kept) > _KEPT_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest)

    def take(self, step: tuple[str, str]) -> bytes | None:
        data = self._kept.pop(step, None)
        if data is not None:
            self._bytes -= len(data)
        return data
