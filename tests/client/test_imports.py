"""What importing the client takes: grpcio and NumPy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("pandas", "pyarrow", "torch", "onnxruntime", "grpc_health", "rich", "click")


def python(program: str) -> str:
    """Standard output of a fresh interpreter in which importing any of HEAVY fails."""
    blocked = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestWithoutPandasAndArrow:
    """Everything but their own forms works where they are not installed."""

    def test_imports(self) -> None:
        assert python("import cascade_client; print('ok')") == "ok"

    def test_a_server_for_tests(self) -> None:
        assert python("from cascade_client.testing import FakeServer; print('ok')") == "ok"

    def test_dicts_go_out_and_come_back(self, target: str) -> None:
        program = f"""
from cascade_client import Client
with Client({target!r}, timeout=20) as client:
    print(client.synthesize("people", {{"age": 3}}, columns=["age", "city"]).data)
    print(len(client.generate("people", 3, kind="rows").data))
"""
        assert python(program).splitlines() == ["{'age': 3, 'city': 'Rome'}", "3"]

    def test_a_frame_says_what_to_install(self, target: str) -> None:
        program = f"""
from cascade_client import Client, MissingDependency
with Client({target!r}, timeout=20) as client:
    for kind in ("pandas", "arrow"):
        try:
            client.generate("people", 3, kind=kind)
        except MissingDependency as exc:
            print(exc)
"""
        assert python(program).splitlines() == [
            "pandas is not installed; pip install pandas, or ask for kind='rows'",
            "pyarrow is not installed; pip install pyarrow, or ask for kind='rows'",
        ]
