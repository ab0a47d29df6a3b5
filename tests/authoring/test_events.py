"""Typed events, and events as functions receive them."""

import pickle
import warnings
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from perdure.authoring.events import Event, Received, Tick, event_codec, event_name, key_path, path_fault
from perdure.core.ops import EventData
from perdure.core.payload import dumps
from perdure.errors import EncodingError, UsageError

T = TypeVar("T")


class UserCreated(Event, name="user/created", key="data.user_id"):
    user_id: str
    plan: str = "free"


class Awkward(Event, name="awkward/fields"):
    """Each of these names is one that events themselves know as well."""

    name: str
    id: int
    key: list[str]
    ts: datetime
    v: float
    data: dict[str, int]
    event: bool
    model_name: str = "m"
    perdure_name: str = "p"


class Tenant(Event, key="data.tenant"):
    """A base without a name."""

    tenant: str


class Joined(Tenant, name="tenant/joined"): ...


class Left(Tenant, name="tenant/left", key="data.who"):
    who: str


class Changed(Event, Generic[T], name="thing/changed"):
    value: T


class Camel(Event, name="camel/case", key="data.userId"):
    user_id: int = Field(alias="userId")


def recorded(name: str = "user/created", data: object = None, **fields: Any) -> EventData:
    event: Any = {"id": "e1", "ts": 1_900_000_000_000_001, "key": "k1", "v": None}
    event |= {"name": name, "data": dumps(data if data is not None else {"user_id": "u1"})}
    return event | fields


def test_name_and_key_path_are_kept_where_no_field_can_hide_them() -> None:
    assert event_name(UserCreated) == "user/created"
    assert key_path(UserCreated) == "data.user_id"
    assert set(UserCreated.model_fields) == {"user_id", "plan"}
    assert [name for name in vars(Event) if not name.startswith("_") and not hasattr(BaseModel, name)] == []


def test_c5_fields_may_have_any_name() -> None:
    fields: Any = {
        "name": "n",
        "id": 1,
        "key": ["k"],
        "ts": datetime(2031, 1, 1, tzinfo=UTC),
        "v": 1.5,
        "data": {"a": 1},
    }
    event = Awkward(**fields, event=True)
    codec = event_codec(Awkward, "awkward/fields")
    assert codec.decode(codec.encode(event)) == event
    assert event_name(Awkward) == "awkward/fields"
    with pytest.raises(ValueError, match="7 validation errors"):
        Awkward()  # type: ignore[call-arg] - a name of the class must not become a default of the field


def test_fields_that_hide_a_method_of_pydantic_work_as_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Hiding(Event, name="hiding"):
            json: int  # type: ignore[assignment]
            copy: int  # type: ignore[assignment]
            schema: int  # type: ignore[assignment]

    codec = event_codec(Hiding, "hiding")
    event = Hiding(json=1, copy=2, schema=3)
    assert codec.decode(codec.encode(event)) == event


def test_a_name_is_not_inherited_and_a_key_path_is() -> None:
    assert event_name(Joined) == "tenant/joined"
    assert key_path(Joined) == "data.tenant"
    assert key_path(Left) == "data.who"

    class Nameless(Joined): ...

    for model in (Tenant, Nameless):
        with pytest.raises(
            UsageError,
            match=rf"{model.__name__} has no name of its own; write class {model.__name__}\(\.\.\., name=",
        ):
            event_name(model)


def test_a_generic_event_has_one_name() -> None:
    assert event_name(Changed[int]) == "thing/changed"
    codec = event_codec(Changed[int], "thing/changed")
    assert codec.encode(Changed[int](value=3)) == b'{"value":3}'
    with pytest.raises(EncodingError, match="integer"):
        codec.decode(b'{"value":"x"}')


def test_settings_of_pydantic_may_stand_beside_the_name() -> None:
    class Strict(Event, name="strict", extra="forbid"):
        a: int

    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Strict(a=1, b=2)  # type: ignore[call-arg]


def test_bytes_in_an_event_may_be_any_bytes() -> None:
    class Uploaded(Event, name="uploaded"):
        content: bytes

    codec = event_codec(Uploaded, "uploaded")
    assert codec.decode(codec.encode(Uploaded(content=b"\xff\x00"))) == Uploaded(content=b"\xff\x00")


def test_aliases_are_what_others_see_and_both_forms_are_read() -> None:
    codec = event_codec(Camel, "camel/case")
    assert codec.encode(Camel(userId=3)) == b'{"userId":3}'
    assert codec.decode(b'{"userId":3}') == codec.decode(b'{"user_id":3}') == Camel(userId=3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": ""}, r"class Bad\(Event, name=\.\.\.\): the name '' is empty"),
        ({"name": "x" * 257}, "has 257 bytes of UTF-8, more than 256"),
        ({"name": "order/*"}, "has a \\*, which is for triggers"),
        ({"name": "a\nb"}, "has the control character"),
        ({"name": 3}, "is of type int; use a string"),
        (
            {"name": "a", "key": "user_id"},
            r"class Bad\(Event, key='user_id'\): the path 'user_id' does not start at data",
        ),
        ({"name": "a", "key": "id"}, "a key comes from the data; write it like 'data.user_id'"),
        ({"name": "a", "key": "data.usr"}, "Bad has no field 'usr'; it has user_id"),
        ({"name": "a", "key": "data..x"}, "cannot be read"),
    ],
)
def test_a_class_that_cannot_work_is_refused_where_it_is_written(
    arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):

        class Bad(Event, **arguments):
            user_id: int


def test_a_key_path_may_lead_into_a_field_and_into_extra_ones() -> None:
    class Nested(Event, name="nested", key="data.user.id"):
        user: dict[str, str]

    class Open(Event, name="open", key="data.anything"):
        model_config = ConfigDict(extra="allow")

    assert key_path(Nested) == "data.user.id"
    assert key_path(Open) == "data.anything"


# --- received ----------------------------------------------------------------------------------------------------


def test_a_received_event_has_its_envelope_beside_its_data() -> None:
    event: Received[UserCreated] = Received(recorded(v="2"), UserCreated)
    assert event.data == UserCreated(user_id="u1")
    assert (event.name, event.id, event.key, event.v) == ("user/created", "e1", "k1", "2")
    assert event.ts == datetime(2030, 3, 17, 17, 46, 40, 1, tzinfo=UTC)
    assert event.ts.tzinfo is UTC


def test_without_a_model_the_data_is_a_dict() -> None:
    event: Received = Received(recorded(data={"a": [1]}))
    assert event.data == {"a": [1]}


def test_the_data_is_decoded_when_first_asked_for_and_once() -> None:
    event: Received[UserCreated] = Received(recorded(data={"user_id": 3}), UserCreated)
    assert event.id == "e1"
    with pytest.raises(
        EncodingError,
        match=r"the data of event 'user/created' does not fit UserCreated \(it was sent otherwise, or the class has "
        r"changed since\): at \$\.user_id, input should be a valid string",
    ):
        _ = event.data
    event = Received(recorded(), UserCreated)
    assert event.data is event.data


def test_received_events_compare_by_what_was_recorded_and_can_be_sent_to_a_process() -> None:
    event: Received[UserCreated] = Received(recorded(), UserCreated)
    assert event == Received(recorded(), UserCreated)
    assert event != Received(recorded(id="e2"), UserCreated)
    assert event != "e1"
    assert len({event, Received(recorded(), UserCreated)}) == 1
    copied = pickle.loads(pickle.dumps(event))
    assert copied == event
    assert copied.data == event.data
    assert repr(event) == "<event user/created e1>"


def test_a_tick_is_an_event_of_the_engine() -> None:
    assert event_name(Tick) == "perdure/scheduled.timer"
    event: Received[Tick] = Received(
        recorded("perdure/scheduled.timer", {"schedule": "nightly", "at": "2031-05-01T00:00:00Z"}), Tick
    )
    assert event.data.at == datetime(2031, 5, 1, tzinfo=UTC)


class Aliased(Event, name="paths/aliased"):
    a: int = Field(alias="aa")
    b: int = Field(validation_alias=AliasChoices("bb", AliasPath("deep", "b")))
    c: int = Field(validation_alias="cc")


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("data.user_id", None),
        ("event.data.user_id", None),
        ("data.user_id.deeper", None),
        ("data", None),
        ("id", None),
        ("v", None),
        ("data.nope", "UserCreated has no field 'nope'; it has "),
    ],
)
def test_A3_a_path_that_no_event_of_a_class_has(path: str, fault: str | None) -> None:
    found = path_fault(UserCreated, path)
    assert found is None if fault is None else str(found).startswith(fault)


def test_A3_a_field_is_found_under_all_its_names() -> None:
    for name in ("a", "aa", "b", "bb", "deep", "c", "cc"):
        assert path_fault(Aliased, f"data.{name}") is None
    assert path_fault(Aliased, "data.d") == "Aliased has no field 'd'; it has a, aa, b, bb, c, cc, deep"
    assert path_fault(Tick, "name") is None
    with pytest.raises(UsageError, match="does not start at"):
        path_fault(Tick, "nope")
