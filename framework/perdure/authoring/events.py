"""Events: what a service sends, and what a function receives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Final, Generic, cast

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict
from typing_extensions import TypeVar, Unpack

from perdure.authoring.names import event_name_fault
from perdure.authoring.payloads import Codec, codec_of
from perdure.core.durations import from_us
from perdure.core.ops import EventData
from perdure.core.paths import parse_path
from perdure.errors import UsageError

__all__ = [
    "Event",
    "Received",
    "Tick",
    "event_codec",
    "event_name",
    "key_path",
    "path_fault",
]

E_co = TypeVar("E_co", covariant=True, default=dict[str, Any])

_CODECS_MAX: Final = 1024


class Event(BaseModel):
    """The base of typed events: a pydantic model with a name.

    ::

        class UserCreated(Event, name="user/created", key="data.user_id"):
            user_id: str
            email: str

    `name` is what the event is called; `key` is a path into it whose value orders it among others (default: its id).
    The fields may have any name, `name`, `id` and `key` included: an event has no public attributes of its own.
    A subclass without `name` is a base for others, and cannot be sent. A field that a sender leaves out gets its
    default again at each replay: let no `default_factory` draw a time or a random number. Raises UsageError for a bad
    name or path.
    """

    # In a model, bytes would have to be UTF-8 otherwise.
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    __perdure_name__: ClassVar[str | None] = None
    __perdure_key__: ClassVar[str | None] = None

    def __init_subclass__(
        cls, *, name: str | None = None, key: str | None = None, **config: Unpack[ConfigDict]
    ):
        super().__init_subclass__(**config)
        # A name is never inherited: two classes of one name would be one event in two shapes.
        cls.__perdure_name__ = name
        if name is not None and (fault := event_name_fault(name, sent=False)):
            raise UsageError(f"class {cls.__name__}(Event, name=...): the name {name!r:.80} {fault}")
        if key is not None:
            cls.__perdure_key__ = key

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__perdure_key__ is not None:
            _check_key_path(cls, cls.__perdure_key__)


class Tick(Event, name="perdure/scheduled.timer"):
    """What a cron or schedule sends: `at` is the time that was planned, which may lie before the time it ran."""

    schedule: str
    at: datetime


class Received(Generic[E_co]):
    """An event as a function receives it: `data` is the model, or a dict for an untyped trigger."""

    __slots__ = ("_data", "_event", "_model")

    def __init__(self, event: EventData, model: type[E_co] | None = None) -> None:
        self._event = event
        self._model = model

    @property
    def data(self) -> E_co:
        """What was sent, decoded when first asked for. Raises EncodingError if it does not fit the model."""
        try:
            return self._data
        except AttributeError:
            self._data: E_co = event_codec(self._model, self._event["name"]).decode(self._event["data"])
            return self._data

    @property
    def name(self) -> str:
        """The name of the event."""
        return self._event["name"]

    @property
    def id(self) -> str:
        """The id of the event: repeats of it among events of one key are dropped for 24 h, or until a million
        other ids came to its partition."""
        return self._event["id"]

    @property
    def key(self) -> str:
        """What orders the event among others: its id when it has no key of its own."""
        return self._event["key"]

    @property
    def ts(self) -> datetime:
        """When the event happened, or was to be delivered: an aware datetime in UTC."""
        return from_us(self._event["ts"])

    @property
    def v(self) -> str | None:
        """The version of the data's shape, if the sender gave one."""
        return self._event["v"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Received) and self._event == cast("Received[Any]", other)._event

    def __hash__(self) -> int:
        return hash((self.name, self.key, self.id))

    def __repr__(self) -> str:
        return f"<event {self.name} {self.id}>"


@lru_cache(maxsize=_CODECS_MAX)
def event_codec(model: type[Any] | None, name: str) -> Codec[Any]:
    """The codec for the data of events of a name; JSON for those without a model."""
    what = f"the data of event {name!r}"
    if model is None:
        return codec_of(Any, what)
    misfit = f"does not fit {model.__name__} (it was sent otherwise, or the class has changed since)"
    return codec_of(model, what, misfit=misfit, by_alias=True)


def event_name(model: type[Event]) -> str:
    """The name of a typed event. Raises UsageError for a class without one."""
    if model.__perdure_name__ is not None:
        return model.__perdure_name__
    origin = model.__pydantic_generic_metadata__["origin"]
    if origin is not None and issubclass(origin, Event):
        return event_name(origin)  # Changed[int] is Changed
    raise UsageError(
        f'{model.__name__} has no name of its own; write class {model.__name__}(..., name="thing/happened")'
    )


def key_path(model: type[Event]) -> str | None:
    """The path whose value orders events of this class, or None."""
    return model.__perdure_key__


def path_fault(model: type[Event], path: str) -> str | None:
    """Why no event of this class can have the path; None when one may. Raises UsageError for what is no path."""
    segments = parse_path(path)
    if segments[0] != "data" or len(segments) == 1 or model.model_config.get("extra") == "allow":
        return None
    names = set[str]()
    for field, info in model.model_fields.items():
        names.update(filter(None, (field, info.alias, info.serialization_alias)))
        names.update(_read_from(info.validation_alias))
    if segments[1] in names:
        return None
    return f"{model.__name__} has no field {segments[1]!r}; it has {', '.join(sorted(names)) or 'none'}"


def _read_from(alias: str | AliasPath | AliasChoices | None) -> Iterator[str]:
    """The names at the top of the data from which a field with such a `validation_alias` is read."""
    if isinstance(alias, AliasChoices):
        for choice in alias.choices:
            yield from _read_from(choice)
    elif isinstance(alias, AliasPath):
        yield str(alias.path[0])
    elif alias is not None:
        yield alias


def _check_key_path(model: type[Event], path: str) -> None:
    where = f"class {model.__name__}(Event, key={path!r})"
    try:
        segments = parse_path(path)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if segments[0] != "data":
        raise UsageError(f"{where}: a key comes from the data; write it like 'data.user_id'")
    if fault := path_fault(model, path):
        raise UsageError(f"{where}: {fault}")
