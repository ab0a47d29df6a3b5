"""The functions that are in force, by what the registry says."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.core.deploys import Deploys
    from perdure.errors import UsageError


def deployed_ids(found: Deploys) -> list[str]:
    """The ids of the functions that are in force."""
    return [one["id"] for one in found.functions]


def no_such_function(function: str, ids: Sequence[str]) -> UsageError:
    """The error for an id that is none of those deployed."""
    from perdure.errors import UsageError

    near = difflib.get_close_matches(function, ids, n=1)
    there = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(ids)) or 'none'}"
    return UsageError(f"no function {function!r} is deployed; {there}")


def check_deployed(found: Deploys, function: str) -> None:
    """Raises UsageError for an id that is none of those deployed."""
    ids = deployed_ids(found)
    if function not in ids:
        raise no_such_function(function, ids)
