"""Values to recorded JSON and back, by the annotation of the function that returns them.

What a body sees is always `decode(encode(value))`: live it is decoded from the bytes that are recorded, as it will be
on replay. So an `encode` that cannot be read back fails at once, in the step that returned the value.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import lru_cache
from types import NoneType
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypeAliasType

from perdure.authoring.annotations import (
    UNANNOTATED,
    display_name,
    return_annotation,
    simplified,
    target_of,
)
from perdure.core import payload
from perdure.errors import EncodingError, UsageError

__all__ = ["Codec", "codec_for", "codec_of"]

T = TypeVar("T")

_BASE64: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_ADAPTERS_MAX: Final = 1024
_CHANGED: Final = "was recorded in another shape than the code has now"


class Codec(Generic[T]):
    """Writes values of one type as JSON, and reads them back. `name` is what messages call the value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, value: T) -> bytes:
        """The JSON to record. Raises EncodingError, naming the value and the path, if it is not of the type."""
        raise NotImplementedError

    def decode(self, data: bytes) -> T:
        """The value of recorded JSON. Raises EncodingError if it does not fit the type (the type has changed)."""
        raise NotImplementedError


def codec_for(fn: Callable[..., Any]) -> Codec[Any]:
    """The codec for what a function returns, from its return annotation; built at the first use, then kept.

    Without an annotation only JSON types can be recorded. Raises UsageError if the annotation cannot be resolved,
    or is a type that pydantic has no schema for.
    """
    try:
        return _codecs[fn]
    except (KeyError, TypeError):
        pass  # at its first use, or a partial or bound method, which may be made anew at each use
    target = target_of(fn)
    try:
        codec = _codecs.get(target)
        if codec is None:
            codec = _codecs[target] = _build(target)
        return codec
    except TypeError:  # neither hashable nor weakly referable
        return _build(target)


def codec_of(
    annotation: Any, name: str, *, advice: str = "", misfit: str | None = None, by_alias: bool = False
) -> Codec[Any]:
    """The codec for values of a type; `name` is what messages call them, `advice` what to do about other types.

    `misfit` says of JSON that is not of the type what is the matter with it. `by_alias` writes the aliases of fields,
    for readers that know no Python; both forms are read. Raises UsageError if pydantic has no schema for the type.
    """
    kind = simplified(annotation)
    if kind is UNANNOTATED or kind is Any:
        return _Json(name, advice)
    try:
        plain = _JSON_TYPES.get(kind)
    except TypeError:  # not hashable: Annotated with a list
        plain = None
    if plain is not None:
        return _JsonOf(name, advice, plain)
    return _Typed(name, kind, _CHANGED if misfit is None else misfit, by_alias)


_codecs: WeakKeyDictionary[Callable[..., Any], Codec[Any]] = WeakKeyDictionary()


def _build(target: Callable[..., Any]) -> Codec[Any]:
    function = display_name(target)
    annotation = return_annotation(target)
    if annotation is not UNANNOTATED:
        advice = f"make the return type of {function} say what it is"
    elif inspect.isfunction(target) and target.__name__ == "<lambda>":
        advice = "a lambda has no return type: use a def, and annotate it"
    else:
        advice = f"annotate the return type of {function}"
    return codec_of(annotation, f"the result of {function}", advice=advice)


# --- JSON types, without pydantic: most steps return these, and each costs a microsecond or less -----------------


class _Json(Codec[Any]):
    """Any JSON value."""

    __slots__ = ("advice",)

    def __init__(self, name: str, advice: str) -> None:
        super().__init__(name)
        self.advice = advice

    def encode(self, value: Any) -> bytes:
        if value is None:
            return b"null"
        return payload.dumps(value, what=self.name, advice=self.advice)

    def decode(self, data: bytes) -> Any:
        if data == b"null":
            return None
        return payload.loads(data, what=self.name)


class _JsonOf(_Json):
    """The JSON values of one annotation: None, str, int, bool, float, dict or list."""

    __slots__ = ("type",)

    def __init__(self, name: str, advice: str, type_: type) -> None:
        super().__init__(name, advice)
        self.type = type_

    def encode(self, value: Any) -> bytes:
        if type(value) is not self.type:
            value = self._fitted(value)
        return payload.dumps(value, what=self.name, advice=self.advice)

    def decode(self, data: bytes) -> Any:
        value = payload.loads(data, what=self.name)
        if type(value) is self.type:
            return value
        if self.type is float and type(value) is int:
            return float(value)
        raise EncodingError(
            f"{self.name} {_CHANGED}: at $, a value of type {_spelled_of(value)}, annotated as "
            f"{_spelled(self.type)}"
        )

    def _fitted(self, value: Any) -> Any:
        """A value of a subclass, as what a type checker lets it stand for: True as 1, 1 as 1.0."""
        if self.type is float and isinstance(value, int):
            return float(value)
        if isinstance(value, self.type):
            return int(value) if isinstance(value, bool) else value
        raise EncodingError(
            f"{self.name} cannot be recorded: at $, a value of type {_spelled_of(value)}, but the annotation "
            f"says {_spelled(self.type)}; change the one or the other"
        )


_JSON_TYPES: Final[dict[Any, type]] = {
    NoneType: NoneType,
    str: str,
    int: int,
    bool: bool,
    float: float,
    dict: dict,
    dict[str, Any]: dict,
    list: list,
    list[Any]: list,
}


def _spelled(kind: type[Any]) -> str:
    return "None" if kind is NoneType else kind.__qualname__


def _spelled_of(value: object) -> str:
    return _spelled(type(value))


# --- all other types, through pydantic ---------------------------------------------------------------------------


class _Typed(Codec[Any]):
    """Values of a type that pydantic has a schema for: models, dataclasses, datetime, bytes, unions, ..."""

    __slots__ = ("adapter", "by_alias", "misfit")

    def __init__(self, name: str, annotation: Any, misfit: str, by_alias: bool) -> None:
        super().__init__(name)
        self.misfit = misfit
        self.by_alias = by_alias
        try:
            self.adapter: TypeAdapter[Any] = _adapter(annotation)
            if not self.adapter.pydantic_complete:  # a type that it names was not there yet
                self.adapter.rebuild(raise_errors=True)
        except Exception as error:
            reason = str(error).partition("\n")[0].partition(". Set `arbitrary_types_allowed")[0]
            raise UsageError(
                f"{name} is annotated as {annotation!r}, which cannot be recorded as JSON ({reason}); use JSON types, "
                "a pydantic model or a dataclass, or record an id and load the object where it is used"
            ) from error

    def encode(self, value: Any) -> bytes:
        data = self._write(value, self.by_alias)
        try:
            self._read(data)
        except ValidationError as error:
            return self._written_otherwise(value, error)
        return data

    def decode(self, data: bytes) -> Any:
        try:
            return self._read(data)
        except ValidationError as error:
            payload.loads(data, what=self.name)  # says it better if this is no JSON at all
            raise EncodingError(f"{self.name} {self.misfit}: {_first(error)}") from error

    def _write(self, value: Any, by_alias: bool) -> bytes:
        try:
            plain = self.adapter.dump_python(
                value, mode="json", round_trip=True, warnings="error", by_alias=by_alias
            )
        except Exception as error:
            raise EncodingError(f"{self.name} cannot be recorded: {self._mismatch(value, error)}") from error
        return payload.dumps(plain, what=self.name)

    def _read(self, data: bytes) -> Any:
        try:
            return self.adapter.validate_json(data, by_alias=True, by_name=True)
        except ValidationError:
            raise
        except Exception as error:
            raise EncodingError(
                f"{self.name} cannot be read: a validator of its type raised {type(error).__name__}: {error}"
            ) from error

    def _written_otherwise(self, value: Any, error: ValidationError) -> bytes:
        """A few types read back in one form only: unions told apart by an aliased field, aliases that differ."""
        data = self._write(value, not self.by_alias)
        try:
            self._read(data)
        except ValidationError:
            raise EncodingError(
                f"{self.name} cannot be recorded, for it does not read back from its JSON: {_first(error)}"
            ) from error
        return data

    def _mismatch(self, value: Any, error: Exception) -> str:
        """Where a value is not of its type. The serializer found it, the validators know the path."""
        if (found := self._path_of_mismatch(value)) is not None:
            return found
        if isinstance(error, UnicodeDecodeError):
            return (
                "it has bytes that are not UTF-8; in a model, set model_config = "
                'ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'
            )
        # The value is left out: it may be secret, and may be large.
        text = " ".join(re.sub(r"input_value=.*?, (?=input_type=)", "", str(error), flags=re.DOTALL).split())
        if "depth exceeded" in text or "Circular reference" in text:
            text += "; flatten it, or look for an object that holds itself"
        return text.removeprefix("Pydantic serializer warnings: ")[:500]

    def _path_of_mismatch(self, value: Any) -> str | None:
        try:
            self.adapter.validate_python(value, strict=True)
            plain = self.adapter.dump_python(value, mode="json", round_trip=True, warnings=False)
            self._read(payload.dumps(plain))
        except ValidationError as found:
            return _first(found)
        except Exception:  # noqa: BLE001 - a serializer of the user's; the first error says more than this one
            return None
        return None


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _kept_adapter(annotation, repr(annotation))
    except TypeError:  # metadata that cannot be hashed
        return _new_adapter(annotation)


@lru_cache(maxsize=_ADAPTERS_MAX)
def _kept_adapter(annotation: Any, _spelling: str) -> TypeAdapter[Any]:
    # The spelling, since int | str == str | int, and the order of a union decides how it is read.
    return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return TypeAdapter(annotation)
    # pydantic takes no config beside a dataclass or TypedDict, except through an alias.
    alias: Any = TypeAliasType("Result", annotation)  # pyright: ignore[reportGeneralTypeIssues]
    return TypeAdapter(alias, config=_BASE64)


def _first(error: ValidationError) -> str:
    """The first fault, its path and what is expected, without the value: it may be secret."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"at {path}, {fault['msg'][0].lower()}{fault['msg'][1:]}{more}"
