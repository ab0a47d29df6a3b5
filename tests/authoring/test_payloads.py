"""What a function returns, recorded and read back as the type that it is annotated with."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NoReturn, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator
from typing_extensions import TypedDict

from perdure.authoring.payloads import Codec, codec_for
from perdure.errors import EncodingError

T = TypeVar("T")


class User(BaseModel):
    name: str
    friends: list["User"] = []

    @computed_field
    @property
    def shouted(self) -> str:
        return self.name.upper()


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: int

    @computed_field
    @property
    def twice(self) -> int:
        return 2 * self.a


class Aliased(BaseModel):
    kind: Literal["aliased"] = Field("aliased", alias="Kind")
    user_id: int = Field(alias="userId")


class Plain(BaseModel):
    kind: Literal["plain"] = Field("plain", alias="Kind")


class Split(BaseModel):
    value: int = Field(validation_alias="in", serialization_alias="out")


class Page(BaseModel, Generic[T]):
    items: list[T]


@dataclass
class Order:
    id: UUID
    total: Decimal
    placed: datetime
    digest: bytes = b""
    parent: "Order | None" = None
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Derived:
    a: int
    b: int = field(init=False, default=7)


class Row(TypedDict, total=False):
    id: int
    digest: bytes


class Point(NamedTuple):
    x: int
    label: str


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


def returning(annotation: Any) -> Codec[Any]:
    """The codec for a function with that return annotation."""

    def work() -> None: ...

    work.__annotations__["return"] = annotation
    return codec_for(work)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (None, None),
        (NoReturn, None),
        (str, "é"),
        (int, 2**70),
        (bool, True),
        (float, 1.5),
        (dict, {"a": [1, None]}),
        (dict[str, Any], {"a": 1}),
        (list, [1, "a"]),
        (list[Any], []),
        (Any, {"a": 1}),
        (object, [1]),
        (T, "x"),
        (list[int], [1, 2]),
        (dict[int, str], {1: "a"}),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2, 3)),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (int | None, None),
        (int | None, 3),
        (int | str, "3"),
        (Literal["a", 1], "a"),
        (Annotated[int, Field(gt=0)], 3),
        (bytes, b"\xff\x00"),
        (list[bytes], [b"\xff"]),
        (UUID, uuid4()),
        (Decimal, Decimal("1.10")),
        (datetime, NOW),
        (date, NOW.date()),
        (timedelta, timedelta(days=1, microseconds=3)),
        (Colour, Colour.RED),
        (Level, Level.LOW),
        (dict[str, Colour], {"a": Colour.RED}),
        (User, User(name="a", friends=[User(name="b")])),
        (list[User], [User(name="a")]),
        (Page[User], Page[User](items=[User(name="a")])),
        (Closed, Closed(a=1)),
        (Aliased, Aliased.model_validate({"userId": 3})),
        (Split, Split.model_validate({"in": 3})),
        (Aliased | Plain, Plain.model_validate({})),
        (Annotated[Aliased | Plain, Field(discriminator="kind")], Aliased.model_validate({"userId": 3})),
        (Order, Order(uuid4(), Decimal("9.90"), NOW, b"\xff", Order(uuid4(), Decimal(0), NOW), {"x"})),
        (list[Order], [Order(uuid4(), Decimal(1), NOW, b"\xfe")]),
        (Derived, Derived(1)),
        (Row, {"id": 1, "digest": b"\xff"}),
        (Point, Point(1, "a")),
        (Awaitable[int], 3),
        (Coroutine[Any, Any, User], User(name="a")),
        (asyncio.Future[list[User]], [User(name="a")]),
        (Awaitable[Decimal] | Decimal, Decimal("1.5")),
        ("list['User'] | None", [User(name="a")]),
    ],
)
def test_the_body_sees_what_was_returned(annotation: Any, value: Any) -> None:
    codec = returning(annotation)
    seen = codec.decode(codec.encode(value))
    assert seen == value
    assert type(seen) is type(value)
    assert codec.encode(seen) == codec.encode(value)


@pytest.mark.parametrize(
    ("annotation", "value", "seen"),
    [
        (float, 3, 3.0),
        (float, True, 1.0),
        (int, True, 1),
        (int, Level.LOW, 1),
        (Any, (1, 2), [1, 2]),
        (dict, {"a": (1,)}, {"a": [1]}),
        (UUID | str, UUID(int=5), UUID(int=5)),
        (User, type("Admin", (User,), {})(name="a"), User(name="a")),
    ],
)
def test_what_a_type_checker_accepts_comes_back_as_the_annotation_says(
    annotation: Any, value: Any, seen: Any
) -> None:
    codec = returning(annotation)
    result = codec.decode(codec.encode(value))
    assert result == seen
    assert type(result) is type(seen)


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (None, 3, r"at \$, a value of type int, but the annotation says None; change the one or the other"),
        (int, "3", r"at \$, a value of type str, but the annotation says int"),
        (int, None, r"at \$, a value of type None, but the annotation says int"),
        (int, 1.0, r"at \$, a value of type float, but the annotation says int"),
        (str, b"x", r"at \$, a value of type bytes, but the annotation says str"),
        (list, (1,), r"at \$, a value of type tuple, but the annotation says list"),
        (
            dict,
            {"when": NOW},
            r"at \$\.when, a value of type datetime is not JSON; make the return type of .* say what it is",
        ),
        (dict, {1: 2}, r"at \$, a key is of type int; JSON has string keys only"),
        (Any, {1}, r"at \$, a value of type set is not JSON; make the return type"),
        (list[int], [1, "x"], r"at \$\[1\], input should be a valid integer"),
        (dict[str, list[int]], {"a": [1, None]}, r"at \$\.a\[1\], input should be a valid integer"),
        (int | None, "3", r"at \$\.?.*, input should be a valid integer"),
        (User, {"name": "a"}, r"Expected `User`.*input_type=dict"),
        (User, None, r"at \$, input should be an object"),
        (User, User.model_construct(name=3), r"at \$\.name, input should be a valid string"),
        (Colour, "red", "Colour|input should be"),
        (datetime, "2031-05-01T12:00:00+00:00", r"at \$, input should be a valid datetime"),
        (float, math.nan, r"at \$, nan is not a JSON number"),
        (float | None, math.nan, r"at \$, nan is not a JSON number"),
        (list[float], [0.0, math.inf], r"at \$\[1\], inf is not a JSON number"),
        (str, "\ud800", r"at \$, a lone surrogate"),
        (list[str], ["\ud800"], r"at \$\[0\], a lone surrogate"),
        (Annotated[int, Field(gt=0)], -1, r"at \$, input should be greater than 0"),
    ],
)
def test_a_result_of_another_type_names_function_and_path(annotation: Any, value: Any, says: str) -> None:
    codec = returning(annotation)
    with pytest.raises(EncodingError, match=says) as caught:
        codec.encode(value)
    assert str(caught.value).startswith("the result of ")
    assert "returning.<locals>.work cannot be recorded" in str(caught.value)


def test_values_are_not_shown_in_messages() -> None:
    for annotation in (list[int], User, int):
        with pytest.raises(EncodingError) as caught:
            returning(annotation).encode(["hunter2"])
        assert "hunter2" not in str(caught.value)


def test_deep_nesting_is_refused_through_models_as_well() -> None:
    user = User(name="a")
    for _ in range(300):
        user = User(name="a", friends=[user])
    with pytest.raises(
        EncodingError, match="depth exceeded; flatten it, or look for an object that holds itself"
    ):
        returning(User).encode(user)
    deep: Any = 0
    for _ in range(10_000):
        deep = [deep]
    for annotation in (list, list[Any], dict[str, list[Any]]):
        with pytest.raises(EncodingError, match="the result of"):
            returning(annotation).encode({"a": deep} if annotation not in (list, list[Any]) else deep)


def test_bytes_in_a_model_that_are_not_text_say_which_setting_helps() -> None:
    class Blob(BaseModel):
        content: bytes

    with pytest.raises(EncodingError, match='ser_json_bytes="base64"'):
        returning(Blob).encode(Blob(content=b"\xff"))


def test_a_type_that_does_not_read_back_is_refused_when_it_is_written() -> None:
    class Secretive(BaseModel):
        secret: str = Field(exclude=True)

    with pytest.raises(
        EncodingError, match=r"does not read back from its JSON: at \$\.secret, field required"
    ):
        returning(Secretive).encode(Secretive(secret="x"))


def test_a_validator_that_breaks_is_no_other_error() -> None:
    class Fragile(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def look(cls, value: int) -> int:
            return {1: 1}[value]

    codec = returning(Fragile)
    with pytest.raises(
        EncodingError, match="work cannot be read: a validator of its type raised KeyError: 2"
    ):
        codec.encode(Fragile.model_construct(a=2))
    with pytest.raises(EncodingError, match="a validator of its type raised KeyError: 3"):
        codec.decode(b'{"a":3}')


@pytest.mark.parametrize(
    ("annotation", "data", "says"),
    [
        (
            int,
            b'"x"',
            r"was recorded in another shape than the code has now: at \$, a value of type str, annotated as int",
        ),
        (User, b'{"nom":"a"}', r"another shape than the code has now: at \$\.name, field required"),
        (Any, b"{", "is not JSON that perdure reads"),
        (User, b"{", "is not JSON that perdure reads"),
    ],
)
def test_a_record_that_does_not_fit_the_code_says_so(annotation: Any, data: bytes, says: str) -> None:
    with pytest.raises(EncodingError, match=says):
        returning(annotation).decode(data)


def test_a_function_made_anew_in_each_run_shares_the_costly_part() -> None:
    def make() -> Callable[[], User]:
        def inner() -> User:
            raise NotImplementedError

        return inner

    first, second = codec_for(make()), codec_for(make())
    assert first is not second
    assert getattr(first, "adapter") is getattr(second, "adapter")  # noqa: B009


def test_the_order_of_a_union_is_its_own() -> None:
    assert returning(int | str).decode(b'"a"') == "a"
    assert getattr(returning(int | str), "adapter") is not getattr(returning(str | int), "adapter")  # noqa: B009


results = st.fixed_dictionaries(
    {
        "id": st.uuids(),
        "total": st.decimals(allow_nan=False, allow_infinity=False),
        "placed": st.datetimes(timezones=st.just(UTC)),
        "digest": st.binary(max_size=20),
        "tags": st.sets(st.text(max_size=5), max_size=3),
    }
)


@given(results)
def test_any_dataclass_comes_back(fields: dict[str, Any]) -> None:
    order = Order(**fields)
    codec = returning(Order)
    assert codec.decode(codec.encode(order)) == order


@given(st.lists(st.none() | st.integers() | st.text() | st.booleans()))
def test_any_list_comes_back(values: list[Any]) -> None:
    for annotation in (list, list[int | str | bool | None], Any):
        codec = returning(annotation)
        seen = codec.decode(codec.encode(values))
        assert seen == values
        assert [type(value) for value in seen] == [type(value) for value in values]
