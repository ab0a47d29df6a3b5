"""From a URL to a log."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from perdure.errors import UsageError
from perdure.logs.contract import Log

FORMS = (
    "sqlite:///relative/file, sqlite:////absolute/file (?synchronous=full|normal, &partitions=8), "
    "kafka://host:9092,host:9092/namespace (?create=8 makes missing topics with 8 partitions), or memory:"
)


def open_log(url: str, app: str = "") -> Log:
    """The log of `app` that `url` names, not yet opened: `await log.open()` does that.

    After `sqlite:///` comes the path as it is, so an absolute one gives four slashes; `%3F` and the like are
    decoded. On Kafka each app has topics of its own; for a tool that knows no app, `?app=` names it, and is not needed
    where there is only one. Elsewhere a log is one app's. Raises `UsageError` for anything else than the forms named
    in its message.
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

        partitions = _count(url, options, "partitions") or 8
        _refuse_unknown(url, options)
        return MemoryLog(partitions)
    if parts.scheme == "sqlite":
        return _sqlite(url, parts.netloc, parts.path, options)
    if parts.scheme == "kafka":
        return _kafka(url, parts.netloc, parts.path, options, app)
    raise UsageError(f"{url!r} is not the URL of a log; use {FORMS}")


def events_topic(url: str) -> str | None:
    """The topic of events of a log on Kafka; None for the URL of any other log."""
    parts = urlsplit(url)
    return f"{parts.path.strip('/')}.events" if parts.scheme == "kafka" else None


def _sqlite(url: str, netloc: str, path: str, options: dict[str, str]) -> Log:
    from perdure.logs.sqlite import SqliteLog

    if netloc or not path.strip("/"):
        raise UsageError(f"{url!r} names no file (three slashes, then the path); use {FORMS}")
    partitions = _count(url, options, "partitions")
    synchronous = options.pop("synchronous", "full").lower()
    if synchronous not in ("full", "normal"):
        raise UsageError(f"{url!r}: synchronous is full or normal, not {synchronous!r}")
    _refuse_unknown(url, options)
    return SqliteLog(unquote(path[1:]), partitions=partitions, full=synchronous == "full")


def _kafka(url: str, servers: str, path: str, options: dict[str, str], app: str) -> Log:
    try:
        from perdure.logs.kafka import KafkaLog, KafkaSettings, from_environment
    except ImportError as error:
        raise UsageError(f'{url!r} needs the Kafka client: pip install "perdure[kafka]"') from error
    namespace = path.strip("/")
    if not servers or not namespace or "/" in namespace:
        raise UsageError(f"{url!r}: the servers and one namespace are needed; use {FORMS}")
    if "@" in servers:
        raise UsageError(
            "a password has no place in the log's URL: set PERDURE_KAFKA_SASL_PASSWORD and so on"
        )
    named = options.pop("app", app)
    if app and named != app:
        raise UsageError(f"{url!r} is the log of the app {named!r}, and this is {app!r}")
    create = _count(url, options, "create")
    _refuse_unknown(url, options)
    return KafkaLog(KafkaSettings(servers, namespace, named, from_environment()), create=create)


def _refuse_unknown(url: str, options: dict[str, str]) -> None:
    if options:
        raise UsageError(f"{url!r}: unknown option {next(iter(options))!r}; use {FORMS}")


def _count(url: str, options: dict[str, str], name: str) -> int | None:
    text = options.pop(name, None)
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1_024:
        raise UsageError(f"{url!r}: {name} is a number from 1 to 1024, not {text!r}")
    return int(text)
