"""From a URL to a log."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from perdure.errors import UsageError
from perdure.logs.contract import Log

FORMS = (
    "sqlite:///relative/file, sqlite:////absolute/file (?synchronous=full|normal, &partitions=8), or memory:"
)


def open_log(url: str) -> Log:
    """The log that `url` names, not yet opened: `await log.open()` does that.

    After `sqlite:///` comes the path as it is, so an absolute one gives four slashes; `%3F` and the like are
    decoded. Raises `UsageError` for anything else than the forms named in its message.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL ({error}); use {FORMS}") from error
    if parts.fragment:
        raise UsageError(f"{url!r}: write %23 for a '#' in a path")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "memory" and not parts.netloc and parts.path in ("", "/"):
        from perdure.logs.memory import MemoryLog

        partitions = _partitions(url, options) or 8
        _refuse_unknown(url, options)
        return MemoryLog(partitions)
    if parts.scheme == "sqlite":
        return _sqlite(url, parts.netloc, parts.path, options)
    if parts.scheme == "kafka":
        raise UsageError(f"{url!r}: the Kafka log is not built yet; use {FORMS}")
    raise UsageError(f"{url!r} is not the URL of a log; use {FORMS}")


def _sqlite(url: str, netloc: str, path: str, options: dict[str, str]) -> Log:
    from perdure.logs.sqlite import SqliteLog

    if netloc or not path.strip("/"):
        raise UsageError(f"{url!r} names no file (three slashes, then the path); use {FORMS}")
    partitions = _partitions(url, options)
    synchronous = options.pop("synchronous", "full").lower()
    if synchronous not in ("full", "normal"):
        raise UsageError(f"{url!r}: synchronous is full or normal, not {synchronous!r}")
    _refuse_unknown(url, options)
    return SqliteLog(unquote(path[1:]), partitions=partitions, full=synchronous == "full")


def _refuse_unknown(url: str, options: dict[str, str]) -> None:
    if options:
        raise UsageError(f"{url!r}: unknown option {next(iter(options))!r}; use {FORMS}")


def _partitions(url: str, options: dict[str, str]) -> int | None:
    text = options.pop("partitions", None)
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1_024:
        raise UsageError(f"{url!r}: partitions is a number from 1 to 1024, not {text!r}")
    return int(text)
