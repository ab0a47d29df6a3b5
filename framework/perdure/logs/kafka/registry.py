"""A Schema Registry with Confluent's API: schemas by their ids, and what may change under a subject.

confluent-kafka's own client, in a thread of its own. It needs packages that the extra `registry` brings.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from perdure.authoring.written import WriterSchema
from perdure.errors import LogError, UsageError

__all__ = ["REGISTRY_PREFIX", "Found", "SchemaRegistry", "registry_from_environment"]

REGISTRY_PREFIX: Final = "PERDURE_SCHEMA_REGISTRY_"
_DEFAULTS: Final[Mapping[str, Any]] = {"timeout": 10.0, "max.retries": 0}
"""Whoever asks asks again by itself."""
_NUMBERS: Final = ("timeout", "max.retries", "retries.wait.ms", "retries.max.wait.ms", "cache.capacity")
_NO_SUBJECT: Final = 40401
_NO_VERSION: Final = 40402
_NO_SCHEMA: Final = 40403
_REFERENCES_MAX: Final = 200

T = TypeVar("T")


class Found(NamedTuple):
    """A version of a subject."""

    version: int
    text: str


class SchemaRegistry:
    """A registry, by the options of confluent-kafka's client; `url` is a must.

    Raises UsageError for options that cannot be. Every method raises LogError when the registry does not answer, or
    not as one; messages hold no option's value but the URL.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        url = options.get("url", "")
        for one in url.split(","):
            if urlsplit(one.strip()).username is not None:
                raise UsageError(
                    f"a password has no place in the registry's URL: set {REGISTRY_PREFIX}BASIC_AUTH_USER_INFO=user:"
                    "password"
                )
        try:
            from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
            from confluent_kafka.schema_registry.error import SchemaRegistryError
        except ImportError as error:
            raise UsageError(
                f'a Schema Registry needs more than the Kafka client: pip install "perdure[registry]" ({error.name} is '
                "missing)"
            ) from error
        try:
            self._client = SchemaRegistryClient({**_DEFAULTS, **_numbers(options)})
        except (ValueError, TypeError, OSError) as error:
            raise UsageError(f"the options in {REGISTRY_PREFIX}… cannot be: {error}") from error
        self._schema = Schema
        self._refusal = SchemaRegistryError
        self._desk = ThreadPoolExecutor(1, "perdure-registry")
        self.url = url

    async def fetch(self, schema_id: int) -> WriterSchema | None:
        """The schema of an id, with those that it refers to; None when the registry says that there is none."""

        def work() -> WriterSchema | None:
            found = self._unless(_NO_SCHEMA, lambda: self._client.get_schema(schema_id))
            if found is None:
                return None
            references = tuple(self._texts(found, set())) if found.schema_type == "AVRO" else ()
            return WriterSchema(found.schema_type or "AVRO", found.schema_str or "", references)

        return await self._ask(work)

    def _texts(self, schema: Any, seen: set[tuple[str, int]]) -> Iterator[str]:
        """The texts of what a schema refers to, each behind those that it needs."""
        for reference in schema.references or ():
            place = (reference.subject, reference.version)
            if place in seen:
                continue
            if len(seen) >= _REFERENCES_MAX:
                raise LogError(f"a schema at {self.url} refers to more than {_REFERENCES_MAX} others")
            seen.add(place)
            found = self._client.get_version(*place).schema
            yield from self._texts(found, seen)
            yield found.schema_str or ""

    async def registered(self, subject: str, text: str) -> int | None:
        """Under which version of the subject this JSON Schema is there; None when it is not."""

        def work() -> int | None:
            found = self._unless(_NO_SCHEMA, lambda: self._client.lookup_schema(subject, self._json(text)))
            return None if found is None else found.version

        return await self._ask(work)

    async def latest(self, subject: str) -> Found | None:
        """The newest version of a subject; None when it has none."""

        def work() -> Found | None:
            found = self._unless(_NO_VERSION, lambda: self._client.get_latest_version(subject))
            return None if found is None else Found(found.version or 0, found.schema.schema_str or "")

        return await self._ask(work)

    async def compatible(self, subject: str, text: str) -> bool:
        """Whether the registry would take this JSON Schema, by the compatibility that is set there."""
        schema = self._json(text)
        return await self._ask(lambda: self._client.test_compatibility_all_versions(subject, schema))

    async def register(self, subject: str, text: str) -> int:
        """Registers a JSON Schema, unless it is there; its id."""
        return await self._ask(lambda: self._client.register_schema(subject, self._json(text)))

    def close(self) -> None:
        """Takes no more questions, and lets go of the connections when the last one is answered."""
        self._desk.submit(self._client.close)
        self._desk.shutdown(wait=False)

    def _json(self, text: str) -> Any:
        return self._schema(text, "JSON")

    def _unless(self, code: int, ask: Callable[[], T]) -> T | None:
        """What is asked for; None when the registry says that it is not there.

        A 404 without such a code is said by something else at that address.
        """
        try:
            return ask()
        except self._refusal as error:
            if error.http_status_code == 404 and error.error_code in (code, _NO_SUBJECT):
                return None
            raise

    async def _ask(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except LogError:
                raise
            except self._refusal as error:
                raise LogError(f"the Schema Registry at {self.url} says: {error}") from error
            except Exception as error:  # of the HTTP client, whichever it is
                raise LogError(
                    f"the Schema Registry at {self.url} does not answer: {type(error).__name__}: {error}"
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._desk, guarded)


def registry_from_environment(environment: Mapping[str, str] = os.environ) -> SchemaRegistry | None:
    """`PERDURE_SCHEMA_REGISTRY_URL`, and its client's other options in the same manner; None when there is no URL.

    `PERDURE_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO` is the option `basic.auth.user.info`, and so on. Raises UsageError.
    """
    options = {
        name.removeprefix(REGISTRY_PREFIX).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(REGISTRY_PREFIX) and value
    }
    return SchemaRegistry(options) if "url" in options else None


def _numbers(options: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {name: float(value) if name in _NUMBERS else value for name, value in options.items()}
    except ValueError:
        wrong = next(name for name in _NUMBERS if not options.get(name, "0").replace(".", "", 1).isdecimal())
        raise UsageError(
            f"{REGISTRY_PREFIX}{wrong.upper().replace('.', '_')} is a number, not {options[wrong]!r:.40}"
        ) from None
