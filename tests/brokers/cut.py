"""A network namespace on this machine whose cable to the machine can be cut, in one direction or in both.

What is cut is lost without a word, as on a broken line: packets go to a hardware address that nobody has. Neither side
is told, no connection is closed, and nothing is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import pytest

Direction = Literal["out", "in"]
"""Seen from inside: what leaves the namespace, what comes into it."""
NOBODY = "02:00:00:00:00:01"


class Cable:
    """The namespace, and the two ends of its cable."""

    def __init__(self) -> None:
        number = os.getpid()
        self.name = f"perdure-{number}"
        self.path = f"/run/netns/{self.name}"
        self._ends = (f"pd{number}h", f"pd{number}n")
        net = f"10.213.{number % 250}"
        self.outside, self.inside = f"{net}.1", f"{net}.2"
        self._made = False

    def lay(self) -> None:
        here, there = self._ends
        ip("netns", "add", self.name)
        self._made = True
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        ip("addr", "add", f"{self.outside}/30", "dev", here)
        ip("link", "set", here, "up")
        self._ip("addr", "add", f"{self.inside}/30", "dev", there)
        self._ip("link", "set", there, "up")
        self._ip("link", "set", "lo", "up")
        self._macs = {"in": mac_in(self._ip("link", "show", there)), "out": mac_in(ip("link", "show", here))}
        self.mend()

    def cut(self, *directions: Direction) -> None:
        for direction in directions:
            self._point(direction, NOBODY)

    def mend(self) -> None:
        for direction in self._macs:
            self._point(direction, self._macs[direction])

    def _point(self, direction: str, mac: str) -> None:
        """Where what goes this way is sent to."""
        here, there = self._ends
        how = ("lladdr", mac, "nud", "permanent")
        if direction == "out":
            self._ip("neigh", "replace", self.outside, "dev", there, *how)
        else:
            ip("neigh", "replace", self.inside, "dev", here, *how)

    def take_away(self) -> None:
        if self._made:
            ip("netns", "delete", self.name)  # and its end of the cable, and so the other end

    def _ip(self, *arguments: str) -> str:
        return ip("-n", self.name, *arguments)


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def mac_in(text: str) -> str:
    found = re.search(r"link/ether (\S+)", text)
    assert found is not None, text
    return found[1]


@contextmanager
def cable() -> Generator[Cable]:
    """A namespace while the context is open. Skips where none can be made."""
    if shutil.which("ip") is None:
        if os.environ.get("CI"):
            pytest.fail("no ip command is here: apt-get install iproute2", pytrace=False)
        pytest.skip("no ip command is here: apt-get install iproute2")
    made = Cable()
    try:
        try:
            made.lay()
        except OSError as error:
            pytest.skip(f"no network namespace can be made here: {error}")
        yield made
    finally:
        made.take_away()
