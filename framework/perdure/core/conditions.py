"""What of a condition on an event is plain equality, and which paths the rest of it looks at.

A condition is a CEL expression over `event` (Common Expression Language, cel.dev). Nothing here evaluates one: what of
it says `path == constant` is found by a table (`matching`), and only the rest is asked of CEL, with as much of the
event as it may look at. Both are read off the text alone. When that leaves a doubt, more is left to CEL, and it is
given more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

__all__ = [
    "AWAITED",
    "ROOTS",
    "Condition",
    "Equality",
    "Pair",
    "Scalar",
    "WaitCondition",
    "parse",
    "parse_wait",
    "projected",
    "scalar",
    "value_at",
]

ROOTS: Final = frozenset({"data", "name", "id", "key", "v"})
"""The fields of an event that a table can hold. Its time is no JSON."""

AWAITED: Final = "async"
"""What a wait's condition calls the event that comes; `event` is the one that began the run."""

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>[rR][bB]?(?:'{3}.*?'{3}|"{3}.*?"{3}|'[^'\n]*'|"[^"\n]*")
        |[bB]?[rR]?(?:'{3}(?:\\.|[^\\])*?'{3}|"{3}(?:\\.|[^\\])*?"{3}|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_]\w*|`[^`\n]*`)
    |(?P<sign>&&|\|\||==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN_TEXT: Final = re.compile(r"""'([^'\\\n]*)'|"([^"\\\n]*)\"""")
_PLAIN_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_WORDS: Final = {"true": True, "false": False, "null": None}
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")

Scalar = tuple[str, Any]
"""A constant as it is compared: its kind, and its value. 1 and 1.0 are one, true and 1 are two."""
Path = tuple[str, ...]


class Equality(NamedTuple):
    """An event has this value at this path."""

    path: Path
    value: Scalar


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, taken apart: all of `equals` and `rest` must hold."""

    text: str
    equals: tuple[Equality, ...]
    rest: str
    """CEL; empty when the equalities say everything."""
    reads: tuple[Path, ...]
    """The paths into the event that `rest` may look at; an empty one is all of it."""


class Pair(NamedTuple):
    """The event that comes has at this path what the run's own has at another, or a constant."""

    path: Path
    own: Path | None
    value: Scalar | None


@dataclass(frozen=True, slots=True)
class WaitCondition:
    """What a wait asks of an event, taken apart: all of `pairs` and `rest` must hold."""

    text: str
    pairs: tuple[Pair, ...]
    rest: str
    """CEL over `event` and `async`; empty when the pairs say everything."""
    own_reads: tuple[Path, ...]
    """The paths into the run's own event that `rest` may look at."""
    reads: tuple[Path, ...]
    """The paths into the event that comes."""


class _Token(NamedTuple):
    kind: str
    text: str


def parse(text: str) -> Condition:
    """Takes a condition apart. Never fails: what is no CEL is left to CEL, which says so."""
    tokens = [_Token(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(text) if m.lastgroup != "space"]
    equals, rest = list[Equality](), list[list[_Token]]()
    for part in _conjuncts(tokens):
        found = _equality(part)
        if found is None:
            rest.append(part)
        else:
            equals.append(found)
    if not equals:  # word for word, so that CEL's positions are those of the text
        return Condition(text, (), text, tuple(_reads(tokens)))
    left = " && ".join(f"({_written(part)})" for part in rest)
    return Condition(text, tuple(equals), left, tuple(_reads([t for part in rest for t in [*part, _END]])))


def parse_wait(text: str, *, skip: int | None = None) -> WaitCondition:
    """Takes the condition of a wait apart. Never fails, as `parse` does not. `skip`: a pair that holds already is
    left out, and `text` is what remains."""
    tokens = [_Token(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(text) if m.lastgroup != "space"]
    pairs, rest, kept = list[Pair](), list[list[_Token]](), list[list[_Token]]()
    for part in _conjuncts(tokens):
        found = _pair(part)
        if found is None:
            rest.append(part)
        else:
            pairs.append(found)
        if found is None or len(pairs) - 1 != skip:
            kept.append(part)
    if skip is not None:
        return parse_wait(" && ".join(f"({_written(part)})" for part in kept))
    whole = not pairs  # word for word, so that CEL's positions are those of the text
    left = text if whole else " && ".join(f"({_written(part)})" for part in rest)
    looked = tokens if whole else [t for part in rest for t in [*part, _END]]
    own, reads = tuple(_reads(looked)), tuple(_reads(looked, AWAITED))
    return WaitCondition(text, tuple(pairs), left, own, reads)


_END: Final = _Token("sign", ";")


def _written(tokens: Iterable[_Token]) -> str:
    return " ".join(token.text for token in tokens)


def _conjuncts(tokens: list[_Token]) -> list[list[_Token]]:
    """The parts that `&&` joins, all of which must hold; the whole when anything binds less tightly than that."""
    parts: list[list[_Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if depth < 0 or (depth == 0 and token.text in ("||", "?", ":")):
            return [tokens]
        if depth == 0 and token.text == "&&":
            parts.append([])
        else:
            parts[-1].append(token)
    if depth or not all(parts):
        return [tokens]
    if len(parts) == 1:
        inner = _unwrapped(parts[0])
        return [parts[0]] if inner is None else _conjuncts(inner)
    return [found for part in parts for found in _conjuncts(part)]


def _unwrapped(tokens: list[_Token]) -> list[_Token] | None:
    """What stands in the brackets around all of it."""
    if len(tokens) < 3 or tokens[0].text != "(" or tokens[-1].text != ")":
        return None
    depth = 0
    for token in tokens[:-1]:
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if depth == 0:
            return None
    return tokens[1:-1]


def _equality(tokens: Sequence[_Token]) -> Equality | None:
    places = [at for at, token in enumerate(tokens) if token.text == "=="]
    if len(places) != 1:
        return None
    left, right = tokens[: places[0]], tokens[places[0] + 1 :]
    for here, there in ((left, right), (right, left)):
        path, value = _path(here), _constant(there)
        if path is not None and value is not None:
            return Equality(path, value)
    return None


def _pair(tokens: Sequence[_Token]) -> Pair | None:
    places = [at for at, token in enumerate(tokens) if token.text == "=="]
    if len(places) != 1:
        return None
    left, right = tokens[: places[0]], tokens[places[0] + 1 :]
    for here, there in ((left, right), (right, left)):
        path, own, value = _path(here, AWAITED), _path(there), _constant(there)
        if path is not None and (own is not None or value is not None):
            return Pair(path, own, value)
    return None


def _path(tokens: Sequence[_Token], root: str = "event") -> Path | None:
    names = tokens[::2]
    if len(tokens) < 3 or len(tokens) % 2 == 0 or any(token.text != "." for token in tokens[1::2]):
        return None
    if any(token.kind != "name" or token.text[0] == "`" for token in names) or names[0].text != root:
        return None
    path = tuple(token.text for token in names[1:])
    return path if path[0] in ROOTS and (len(path) == 1) == (path[0] != "data") else None


def _constant(tokens: Sequence[_Token]) -> Scalar | None:
    minus = len(tokens) == 2 and tokens[0].text == "-"
    if len(tokens) != 1 + minus:
        return None
    kind, text = tokens[-1]
    if kind == "number" and _PLAIN_NUMBER.fullmatch(text):
        number = float(text) if "." in text else int(text)
        return scalar(-number if minus else number)
    if minus:
        return None
    if kind == "text" and (plain := _PLAIN_TEXT.fullmatch(text)):
        return scalar(plain[1] or plain[2] or "")
    return scalar(_WORDS[text]) if kind == "name" and text in _WORDS else None


def _reads(tokens: Sequence[_Token], root: str = "event") -> list[Path]:
    """Where an event is looked into. A call's name is no part of a path; what follows an index is not looked at."""
    found: dict[Path, None] = {}
    for at, token in enumerate(tokens):
        if token != ("name", root) or (at and tokens[at - 1].text == "."):
            continue
        path: list[str] = []
        here = at + 1
        while here + 1 < len(tokens) and tokens[here].text == "." and tokens[here + 1].kind == "name":
            path.append(tokens[here + 1].text.strip("`"))
            here += 2
        if path and here < len(tokens) and tokens[here].text == "(":
            path.pop()
        found[tuple(path)] = None
    return [
        path for path in found if not any(path != other and path[: len(other)] == other for other in found)
    ]


_ABSENT: Final = object()


def scalar(value: object) -> Scalar | None:
    """A value as it is compared to a constant; None for one that equals no constant."""
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, str):
        return "text", value
    return ("number", value) if isinstance(value, int | float) else None


def value_at(view: Mapping[str, Any], path: Path) -> Scalar | None:
    """What an event (a `paths.event_view`) has at a path, to be compared; None when nothing there equals a constant."""
    value: object = view
    for segment in path:
        value = (
            cast("Mapping[str, object]", value).get(segment, _ABSENT) if isinstance(value, dict) else _ABSENT
        )
    return scalar(value)


def projected(view: Mapping[str, Any], reads: Iterable[Path]) -> Mapping[str, Any]:
    """As much of an event as these paths lead through; what it does not have stays absent."""
    found: dict[str, Any] = {}
    for path in reads:
        if not path:
            return view
        _project(view, found, path)
    return found


def _project(source: Mapping[str, Any], target: dict[str, Any], path: Path) -> None:
    for segment in path[:-1]:
        if segment not in source:
            return
        inner = source[segment]
        if not isinstance(inner, dict):
            target[segment] = inner
            return
        source = cast("dict[str, Any]", inner)
        target = target.setdefault(segment, {})
    if path[-1] in source:
        target[path[-1]] = source[path[-1]]
