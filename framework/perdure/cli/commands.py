"""Commands and groups of commands whose help names no types of Python: what people type are words."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


class Group(TyperGroup):
    """Commands under a name."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


def _untyped(params: list[Any]) -> list[Any]:
    """Flags and arguments lose the type that typer would show; options keep the word for their value."""
    for param in params:
        if isinstance(param, TyperArgument) or param.is_flag:
            param.display_type_rich = _no_type
    return params


def _no_type(ctx: Any) -> str | None:
    del ctx
    return None
