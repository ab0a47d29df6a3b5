"""The lives of `tests.crash`, and those of this folder, with the shim loaded: one that is given `faults` meets them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.crash import lives as crash_lives
from tests.faults import lives


def _faulty(life: Callable[..., int]) -> Callable[..., int]:
    @wraps(life)
    def living(*args: Any, faults: str | None = None, **options: Any) -> int:
        if faults is not None:
            ctypes.CDLL(None).perdure_faults(faults.encode())
        return life(*args, **options)

    return living


LIVES = {name: _faulty(life) for name, life in (crash_lives.LIVES | lives.LIVES).items()}
