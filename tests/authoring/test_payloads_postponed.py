"""Annotations under `from __future__ import annotations`: texts, evaluated where the function was written."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from perdure.authoring.payloads import codec_for
from perdure.errors import UsageError

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass
class Node:
    value: Decimal
    next: Node | None = None


async def load(seen: Fraction) -> list[Node]:
    raise NotImplementedError


def later() -> Later:
    raise NotImplementedError


@dataclass
class Later:
    at: Decimal


def test_only_the_return_annotation_is_evaluated() -> None:
    codec = codec_for(load)
    value = [Node(Decimal("1.10"), Node(Decimal(2)))]
    assert codec.decode(codec.encode(value)) == value


def test_a_type_may_be_defined_after_the_function() -> None:
    codec = codec_for(later)
    assert codec.decode(codec.encode(Later(Decimal(1)))) == Later(Decimal(1))


def test_a_type_of_the_enclosing_function_is_found_when_the_function_uses_it() -> None:
    @dataclass
    class Local:
        a: Decimal

    def make() -> Local:
        return Local(Decimal(1))

    codec = codec_for(make)
    assert codec.decode(codec.encode(make())) == make()


def test_a_type_for_checkers_only_says_what_to_do() -> None:
    def total() -> Fraction:
        raise NotImplementedError

    with pytest.raises(
        UsageError, match=r"'Fraction' of .*total cannot be resolved .* outside of TYPE_CHECKING"
    ):
        codec_for(total)


def test_any_is_json() -> None:
    def anything() -> Any:
        raise NotImplementedError

    assert codec_for(anything).encode({"a": 1}) == b'{"a":1}'
