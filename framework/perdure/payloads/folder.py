"""A store of payloads in a folder: of one machine, or shared by several through a file system that they all mount."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from perdure.errors import PayloadStoreError
from perdure.payloads.store import Stored, missing

__all__ = ["FolderStore"]

_LEAVING: Final = ".leaving"
"""What an object is called while it is looked at a last time."""
_COMING: Final = ".coming"
_LEFT_BEHIND_S: Final = 86_400.0
"""A file that was being written so long ago never will be: its writer was killed."""


class FolderStore:
    """Objects as files, each written to the disk (fsync) before it is seen under its name.

    One folder serves one log. Only its owner may read it. It is made at the first put.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"FolderStore({str(self.folder)!r})"

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.folder)

    def put(self, name: str, data: bytes) -> None:
        """Writes an object; where it is already, whole by its size, only its time changes."""
        path = self._path(name)
        try:
            if path.stat().st_size == len(data):
                os.utime(path)
                return
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._refused("read", error) from error
        coming = path.with_name(f"{name}.{os.getpid()}-{os.urandom(6).hex()}{_COMING}")
        try:
            self._make(path.parent)
            with open(coming, "xb", opener=_private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            coming.replace(path)
            _sync(path.parent)
        except OSError as error:
            with suppress(OSError):
                coming.unlink(missing_ok=True)
            raise self._refused("written", error) from error

    def get(self, name: str) -> bytes:
        """Reads an object."""
        path = self._path(name)
        for place in (path, path.with_name(name + _LEAVING), path):
            try:
                return place.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._refused("read", error) from error
        # A folder that is not there may be a disk that is not mounted: then this is no proof that anything is gone.
        if not self.folder.is_dir():
            raise PayloadStoreError(
                f"the folder {self.folder} of the store of payloads is not there; mount or make it, and resume the run"
            )
        raise missing(name, self.where)

    def names(self) -> Iterator[Stored]:
        """All objects. Removes what writers that were killed have left."""
        try:
            for shelf in os.scandir(self.folder):
                if not shelf.is_dir():
                    continue
                for entry in os.scandir(shelf):
                    with suppress(FileNotFoundError):
                        found = entry.stat()
                        if entry.name.endswith(_COMING):
                            self._sweep(Path(entry.path), found.st_mtime)
                        elif entry.name.startswith("sha256-"):
                            name = entry.name.removesuffix(_LEAVING)
                            yield Stored(name, found.st_size, found.st_mtime)
        except FileNotFoundError:
            return  # nothing was ever put here
        except OSError as error:
            raise self._refused("read", error) from error

    def remove(self, name: str, before: float) -> bool:
        """Removes an object. Out of the way first and looked at again, since a put in between renews it."""
        path = self._path(name)
        leaving = path.with_name(name + _LEAVING)
        try:
            if not leaving.exists():
                if not path.exists():
                    return True
                if path.stat().st_mtime >= before:
                    return False
                path.replace(leaving)
            if leaving.stat().st_mtime >= before:
                leaving.replace(path)
                return False
            leaving.unlink()
        except FileNotFoundError:
            return not path.exists()  # somebody else has removed it, or has put it again
        except OSError as error:
            raise self._refused("written", error) from error
        return not path.exists()

    def _path(self, name: str) -> Path:
        return self.folder / name.removeprefix("sha256-")[:2] / name

    def _make(self, folder: Path) -> None:
        """Makes a folder, and those above it, each of them durable."""
        if folder.is_dir():
            return
        if not folder.parent.is_dir():
            self._make(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _sync(folder.parent)

    def _sweep(self, coming: Path, written: float) -> None:
        from time import time

        if written < time() - _LEFT_BEHIND_S:
            with suppress(OSError):
                coming.unlink(missing_ok=True)

    def _refused(self, what: str, error: OSError) -> PayloadStoreError:
        return PayloadStoreError(f"the store of payloads at {self.folder} cannot be {what}: {error}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    """A name in a folder is durable once the folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
