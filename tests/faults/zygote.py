"""The zygote of `tests.crash`, with the shim loaded: a life that is given `faults` meets them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.crash import zygote
from tests.crash.lives import LIVES
from tests.faults import lives


def _faulty(life: Callable[..., int]) -> Callable[..., int]:
    @wraps(life)
    def living(*args: Any, faults: str | None = None, **options: Any) -> int:
        if faults is not None:
            ctypes.CDLL(None).perdure_faults(faults.encode())
        return life(*args, **options)

    return living


if __name__ == "__main__":
    LIVES.update({name: _faulty(life) for name, life in (LIVES | lives.LIVES).items()})
    zygote.main()
