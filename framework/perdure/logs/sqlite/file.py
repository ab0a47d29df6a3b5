"""Opening the file: made when missing, refused with a reason when it is not ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from perdure.errors import LevelTooNew, LogDamaged, LogError, UsageError
from perdure.logs.sqlite.rows import ADD_CHECKS, PARTITIONS_MAX, SCHEMA

APPLICATION_ID: Final = 0x70657264  # "perd"
FORMAT: Final = 2
PARTITIONS: Final = 8
BUSY_MS: Final = 2_000
CHECKPOINT_PAGES: Final = 1_000
CHECKPOINT_MS: Final = 50
_PROBE_BYTES: Final = 64 * 1024
WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""From here on the write-ahead log is begun anew as soon as nobody reads in it."""
WAL_BYTES_LIMIT: Final = 1024 * 1024 * 1024
"""Here appends wait until that has worked."""


def resolve(path: str | os.PathLike[str]) -> Path:
    """The absolute path of the log, with its directory made. Raises `UsageError` or `LogError`."""
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not a path for a log")
    file = Path(os.path.realpath(text))
    try:
        made = not file.parent.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        if made and file.parent.name == ".perdure":
            (file.parent / ".gitignore").write_text("*\n")  # nobody wants a log in a repository
    except OSError as error:
        raise LogError(f"cannot make the directory of the log {file}: {error.strerror}") from error
    if file.is_dir():
        raise UsageError(f"{file} is a directory: name a file in it, such as {file / 'log.db'}")
    return file


def connect(file: Path, full: bool) -> sqlite3.Connection:
    """A connection with the settings that all connections to a log have."""
    try:
        connection = sqlite3.connect(
            file,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=BUSY_MS / 1_000,
        )
    except sqlite3.Error as error:
        raise translated(error, file) from error
    try:
        connection.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_MAX}")
        connection.execute("PRAGMA cache_size=-16000")
    except sqlite3.Error as error:
        connection.close()
        raise translated(error, file) from error
    return connection


def prepare(connection: sqlite3.Connection, file: Path, partitions: int | None) -> int:
    """Make the file a log if it is empty, else check that it is one; how many partitions it has.

    To be called by one process at a time.
    """
    try:
        _check_format(connection, file)
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise LogError(
                f"SQLite cannot use a write-ahead log for {file} (got {mode!r}): use a local file system"
            )
        stands = _partitions(connection, file)
        if stands is None:
            stands = PARTITIONS if partitions is None else partitions
            _create(connection, stands)
            # So that the file is a log by itself, also for whoever copies it without its write-ahead log.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise translated(error, file) from error
    if partitions is not None and partitions != stands:
        raise UsageError(
            f"{file} has {stands} partitions, not {partitions}: leave the option out, or use a new file"
        )
    return stands


def _check_format(connection: sqlite3.Connection, file: Path) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return
    if application != APPLICATION_ID:
        raise LogError(f"{file} is a SQLite database of something else than perdure: name another file")
    if version > FORMAT:
        raise LevelTooNew(
            f"{file} has file format {version}, and this version of perdure knows {FORMAT}: upgrade perdure"
        )


def _partitions(connection: sqlite3.Connection, file: Path) -> int | None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        return None
    settings = dict(connection.execute("SELECT name, value FROM settings").fetchall())
    partitions = settings.get("partitions")
    if version < FORMAT and isinstance(partitions, int):
        _in_one(connection, (*ADD_CHECKS, _keep("again", partitions), f"PRAGMA user_version={FORMAT}"))
    elif partitions is None or settings.get("again") != partitions:
        raise LogDamaged(f"{file} does not say how many partitions it has: restore it from a backup")
    return partitions


def _keep(name: str, value: int) -> str:
    return f"INSERT INTO settings VALUES ('{name}', {value:d})"


def _create(connection: sqlite3.Connection, partitions: int) -> None:
    if not 1 <= partitions < PARTITIONS_MAX:
        raise UsageError(f"a log has from 1 to {PARTITIONS_MAX - 1} partitions, not {partitions}")
    _in_one(
        connection,
        (
            *SCHEMA,
            _keep("partitions", partitions),
            _keep("again", partitions),  # a bit of it that changes would send everything elsewhere
            f"PRAGMA application_id={APPLICATION_ID}",
            f"PRAGMA user_version={FORMAT}",
        ),
    )


def _in_one(connection: sqlite3.Connection, statements: Iterable[str]) -> None:
    """All of them in one transaction, or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def translated(error: sqlite3.Error, file: Path) -> LogError:
    """SQLite's error in the words of whoever runs the log: what is wrong with which file, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_NOTADB"):
        return LogError(f"{file} is not a log of perdure (not even a SQLite database): name another file")
    if name.startswith("SQLITE_CORRUPT") and not unreadable(file):
        return LogDamaged(f"{file} is damaged ({error}): restore it from a backup, or name a new file")
    if name.startswith("SQLITE_FULL"):
        return LogError(f"no room to write {file}: free space on its disk, then go on")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return LogError(
            f"cannot write {file} ({error}): make the file and its directory writable for this user"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LogError(f"{file} stays locked: another program holds a transaction open on it, close that")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT")):
        return LogError(
            f"the disk of {file} fails ({error}, {name}): look at what the kernel says of it; whatever was acknowledged"
            " stands, and the rest is tried again"
        )
    return LogError(f"{file}: {error} ({name or type(error).__name__})")


def unreadable(file: Path) -> bool:
    """Whether the device does not give what it holds: SQLite calls a page malformed that could not be read."""
    for path in (file, Path(f"{file}-wal")):
        try:
            with path.open("rb", buffering=0) as raw:
                raw.read(_PROBE_BYTES)
                raw.seek(max(0, os.fstat(raw.fileno()).st_size - _PROBE_BYTES))
                raw.read(_PROBE_BYTES)
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


def unopened(error: OSError, file: Path | None) -> LogError:
    """What the system refused while the log was opened, in the same words."""
    what = error.strerror or type(error).__name__
    return LogError(
        f"cannot open the log {file}: {what} ({error.filename or f'{file}.shared'}):"
        " see to its disk, and to who may write its directory, then start again"
    )


def wal_bytes(file: Path) -> int:
    """How big the write-ahead log is."""
    try:
        return os.stat(f"{file}-wal").st_size
    except OSError:
        return 0


def restart_wal(connection: sqlite3.Connection, patience_ms: int) -> bool:
    """Move all of the write-ahead log into the file and empty it; False while a reader still needs it."""
    connection.execute(f"PRAGMA busy_timeout={patience_ms}")
    try:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    return not busy


def is_busy(error: sqlite3.Error) -> bool:
    """Somebody else held the lock for all of `BUSY_MS`; the same again may work."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
