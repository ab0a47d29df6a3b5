"""Who does not trace pays nothing, not even an import."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from perdure.app import App
from perdure.observability.tracing import tracing
assert tracing("shop") == ()
loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not loaded, loaded
"""

_API_ONLY = """
import sys
import opentelemetry.trace
from perdure.observability.tracing import tracing
assert tracing("shop") == ()
assert "opentelemetry.sdk.trace" not in sys.modules
"""


def test_nothing_of_opentelemetry_is_loaded_without_need() -> None:
    for program in (_PROGRAM, _API_ONLY):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
