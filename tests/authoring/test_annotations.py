"""Where the return annotation of a callable is found, and what is said when it is not there or cannot work."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from perdure.authoring.payloads import codec_for
from perdure.errors import EncodingError, UsageError

T = TypeVar("T")
NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


class User(BaseModel):
    name: str


async def fetch(user_id: int) -> User:
    raise NotImplementedError


def untyped(value: Any):
    return value


class Service:
    def load(self) -> Decimal:
        raise NotImplementedError

    @classmethod
    def make(cls) -> Decimal:
        raise NotImplementedError

    @staticmethod
    def count() -> Decimal:
        raise NotImplementedError


class Callee:
    async def __call__(self, x: int) -> Decimal:
        raise NotImplementedError


def logged(fn: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> T:
        return fn(*args, **kwargs)

    return wrapper


@functools.lru_cache
def cached() -> Decimal:
    raise NotImplementedError


class Equal:
    """Callables that are equal, and cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> Decimal:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (fetch, User(name="a")),
        (functools.partial(fetch, 1), User(name="a")),
        (functools.partial(functools.partial(fetch), 1), User(name="a")),
        (logged(fetch), User(name="a")),
        (logged(logged(fetch)), User(name="a")),
        (Service().load, Decimal("1.0")),
        (Service.make, Decimal("1.0")),
        (Service.count, Decimal("1.0")),
        (functools.partial(Service().load), Decimal("1.0")),
        (Callee(), Decimal("1.0")),
        (Equal(), Decimal("1.0")),
        (cached, Decimal("1.0")),
        (User, User(name="a")),
        (untyped, {"a": 1}),
        (len, 3),
        (lambda: 1, [1]),
    ],
)
def test_the_annotation_is_found_behind_whatever_wraps_it(fn: Callable[..., Any], value: Any) -> None:
    codec = codec_for(fn)
    seen = codec.decode(codec.encode(value))
    assert seen == value
    assert type(seen) is type(value)


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (untyped, r"annotate the return type of .*untyped"),
        (functools.partial(untyped, 1), r"annotate the return type of .*untyped"),
        (lambda: 1, "a lambda has no return type: use a def, and annotate it"),
        (len, "annotate the return type of len"),
    ],
)
def test_without_an_annotation_only_json_is_recorded(fn: Callable[..., Any], says: str) -> None:
    with pytest.raises(EncodingError, match=rf"at \$\.at, a value of type datetime is not JSON; {says}"):
        codec_for(fn).encode({"at": NOW})


class Opaque: ...


def numbers() -> Iterator[int]:
    yield 1


async def more_numbers() -> AsyncIterator[int]:
    yield 1


def returning(annotation: Any) -> Callable[[], None]:
    def work() -> None: ...

    work.__annotations__["return"] = annotation
    return work


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (
            Opaque,
            r"annotated as .*Opaque.*, which cannot be recorded as JSON .* use JSON types, a pydantic model or",
        ),
        (list[Opaque], "Opaque"),
        (
            "Missing",
            r"the return annotation 'Missing' of .*work cannot be resolved .* define that type at the top level",
        ),
        ("list[", "cannot be resolved"),
        (Iterator[int], r"annotated to return .*Iterator\[int\]; a result is one value"),
    ],
)
def test_annotations_that_cannot_work_are_a_usage_error(annotation: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        codec_for(returning(annotation))


@pytest.mark.parametrize("fn", [numbers, more_numbers])
def test_a_generator_is_refused(fn: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="is a generator; a result is one value: collect it into a list"):
        codec_for(fn)


def test_a_codec_is_built_once_per_function() -> None:
    assert codec_for(fetch) is codec_for(fetch)
    assert codec_for(Service().load) is codec_for(Service().load)
    assert codec_for(functools.partial(fetch, 1)) is codec_for(fetch)


def test_awaiting_is_seen_through_only_where_the_caller_awaits() -> None:
    async def gives_a_future() -> asyncio.Future[int]:
        raise NotImplementedError

    with pytest.raises(UsageError, match="cannot be recorded"):
        codec_for(gives_a_future)
