"""How one process tells the others on the same file that there is something to read."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

_SLOTS_MAX = 256
_PATH_BYTES_MAX = 100  # sun_path has 108, some systems 104
_FRESH_NS = 50_000_000  # a directory so young may change again within one tick of its time stamp


class Doorbell:
    """A datagram socket in the shared directory that others send to, and the way to theirs.

    A ring may be lost (a full queue, a socket that could not be made): who listens must also look at the
    file now and then. `heard` is False when this process cannot be rung at all.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._others: list[str] = []
        self._listed_ns = -1
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        try:
            self.socket.bind(self._address(self._name))
            self.heard = True
        except OSError:
            self.heard = False

    def _address(self, name: str) -> str:
        path = str(self._directory / name)
        return path if len(os.fsencode(path)) <= _PATH_BYTES_MAX else f"/proc/self/fd/{self._fd}/{name}"

    def ring(self, slots: Iterable[int] = ()) -> None:
        """Tell the others that these slots have grown; none at all: that the membership has changed."""
        self._list()
        if not self._others:
            return
        numbers = list(slots)[:_SLOTS_MAX]
        message = struct.pack(f"<{len(numbers)}H", *numbers)
        for name in tuple(self._others):
            try:
                self.socket.sendto(message, self._address(name))
            except BlockingIOError:
                pass  # it has rings enough waiting
            except (ConnectionRefusedError, FileNotFoundError):
                self._others.remove(name)
                with contextlib.suppress(OSError):
                    os.unlink(self._directory / name)  # its process is gone
            except OSError:
                self._others.remove(name)

    def hear(self) -> tuple[set[int], bool]:
        """What was rung since: which slots have grown, and whether the membership has changed."""
        grown: set[int] = set()
        changed = False
        for _ in range(1_000):
            try:
                message = self.socket.recv(_SLOTS_MAX * 2)
            except (BlockingIOError, OSError):
                break
            if message:
                grown.update(struct.unpack(f"<{len(message) // 2}H", message[: len(message) // 2 * 2]))
            else:
                changed = True
        return grown, changed

    def _list(self) -> None:
        changed_ns = os.fstat(self._fd).st_mtime_ns
        if changed_ns != self._listed_ns:
            self._listed_ns = changed_ns if time.time_ns() - changed_ns > _FRESH_NS else -1
            self._others = [name for name in os.listdir(self._fd) if name != self._name]

    def close(self) -> None:
        self.socket.close()
        if self.heard:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._fd)
        os.close(self._fd)
