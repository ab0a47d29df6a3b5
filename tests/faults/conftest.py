"""The shim and its zygote for each session, and places with a log for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import ground, places
from tests.crash.processes import Child, Place, Zygote
from tests.faults.shim import Faults, compiled

__all__ = ["ground"]

SMALL_MB = 8
MakePlace = Callable[..., "FaultyPlace"]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None and not os.environ.get("CI"):
        pytest.skip("no C compiler is here to make the disk that fails: apt-get install gcc libc6-dev")
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def zygote(shim: Path) -> Iterator[Zygote]:
    made = Zygote(modules=["tests.faults.faulty"], LD_PRELOAD=str(shim))
    yield made
    made.close()


class FaultyPlace(Place):
    """A folder with a log, and processes on it that meet faults."""

    everywhere: Faults | None = None
    """What all processes meet that are given nothing else."""

    def faults(self, name: str = "faults") -> Faults:
        """New ones, for a process that is yet to start."""
        return Faults(self.folder / name, self.folder / "log.db")

    def start(self, life: str, *, faults: Faults | None = None, **arguments: Any) -> Child:
        faults = faults or self.everywhere
        if faults is not None:
            arguments["faults"] = str(faults.path)
        return super().start(life, **arguments)


@pytest.fixture
def place(zygote: Zygote, ground: Path) -> Iterator[MakePlace]:
    """Makes a place with a log of its own; its processes end with the test."""
    with places(FaultyPlace, zygote, ground) as make:
        yield make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB. Skips where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "perdure", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk of {SMALL_MB} MB can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
