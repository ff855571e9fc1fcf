"""Triton's own client, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.environments import NotInstalled, environment
from tests.server.running import Running

PACKAGES = ("tritonclient[grpc]==2.73.0", "grpcio==1.81.1", "protobuf==6.33.6", "numpy==2.4.6")


class Refused(Exception):
    """The client raised an error.

    Attributes:
        status, message: of it.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class TritonClient:
    """Methods of `tritonclient.grpc.InferenceServerClient`; `infer` as in triton_client.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"method": method, "args": args, "options": options}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        if "status" in said:
            raise Refused(said["status"], said["message"])
        return said["answer"]

    def infer(self, model: str, inputs: dict[str, Any] | None = None, **options: Any) -> Any:
        return self("infer", model, inputs or {}, **options)


@pytest.fixture(scope="session")
def triton_python() -> Path:
    """An interpreter that has Triton's client."""
    try:
        return environment(*PACKAGES) / "bin" / "python"
    except NotInstalled as exc:
        pytest.skip(str(exc))


@contextmanager
def asking(target: str, python: Path) -> Iterator[TritonClient]:
    """Triton's client of a server, in a process of its own."""
    program = Path(__file__).with_name("triton_client.py")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [python, program, target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
    ) as process:
        yield TritonClient(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def triton_client(serving: Running, triton_python: Path) -> Iterator[TritonClient]:
    with asking(serving.target, triton_python) as client:
        yield client
