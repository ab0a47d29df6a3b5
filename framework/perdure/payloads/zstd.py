"""Compression, by zstandard."""

from __future__ import annotations

from threading import local
from typing import Any, Final

from perdure.errors import PayloadDamaged, UsageError

__all__ = ["Zstd"]

_LEVELS: Final = range(1, 20)


class Zstd:
    """Compresses payloads with Zstandard.

    `level` is 1 (fast) to 19 (small). Payloads under `min_bytes`, and those that it would not make smaller, stay as
    they are. Needs `pip install "perdure[zstd]"`; raises UsageError without it.
    """

    def __init__(self, level: int = 3, *, min_bytes: int = 512) -> None:
        if level not in _LEVELS:
            raise UsageError(f"Zstd(level={level!r}): a level is a whole number from 1 to 19")
        try:
            import zstandard
        except ImportError as error:
            raise UsageError('Zstd needs the package zstandard: pip install "perdure[zstd]"') from error
        self.level = level
        self.min_bytes = min_bytes
        self._zstd: Any = zstandard
        self._contexts = local()  # they are not made to be used by two threads at once

    def __repr__(self) -> str:
        return f"Zstd(level={self.level}, min_bytes={self.min_bytes})"

    @property
    def name(self) -> str:
        """`zstd`."""
        return "zstd"

    @property
    def argument(self) -> str:
        """None is needed to read it."""
        return ""

    @property
    def encrypts(self) -> bool:
        """It does not."""
        return False

    def encode(self, data: bytes, bound: bytes) -> bytes | None:
        """One frame, with the size of what is in it; None where that saves nothing."""
        if len(data) < self.min_bytes:
            return None
        made: bytes = self._compressor().compress(data)
        return made if len(made) < len(data) else None

    def decode(self, data: bytes, argument: str, bound: bytes, size_max: int) -> bytes:
        """What is in the frame. Its size is looked at before anything is unpacked."""
        try:
            size: int = self._zstd.frame_content_size(data)
            if not 0 <= size <= size_max:
                raise PayloadDamaged(
                    f"a compressed payload says that it has {size:,} bytes, {size_max:,} can be"
                )
            return self._decompressor().decompress(data, max_output_size=size, allow_extra_data=False)
        except self._zstd.ZstdError as error:
            raise PayloadDamaged(
                f"a compressed payload cannot be read, its bytes were changed: {error}"
            ) from error

    def _compressor(self) -> Any:
        try:
            return self._contexts.compressor
        except AttributeError:
            made = self._contexts.compressor = self._zstd.ZstdCompressor(
                level=self.level, write_checksum=True, write_content_size=True
            )
            return made

    def _decompressor(self) -> Any:
        try:
            return self._contexts.decompressor
        except AttributeError:
            made = self._contexts.decompressor = self._zstd.ZstdDecompressor()
            return made
