"""A real Triton server without a container, with a released student in its Python backend.

The PyPI wheel `nvidia-pytriton` carries `tritonserver`, its Python backend and the stub that runs a
model. It wants an older NumPy than this project, so it has an environment of its own, made once in
the cache directory. It has no ONNX backend: the student runs in ONNX Runtime, from Python, once a
batch.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from cascade_tables import Release
from numpy.typing import NDArray

from benchmarks.environments import NotInstalled, environment
from benchmarks.h2load import LoadFailed

# Pinned, as constraints.txt pins everything else.
PACKAGES = ("nvidia-pytriton==0.7.0", "onnxruntime==1.22.1", "numpy==1.26.4")
METHOD = "/inference.GRPCInferenceService/ModelInfer"
MODEL_READY = "/inference.GRPCInferenceService/ModelReady"
STUDENT = "student"
MAX_BATCH = 64
READY_SECONDS = 60

CONFIG = """\
name: "student"
backend: "python"
max_batch_size: {max_batch}
dynamic_batching {{ }}
instance_group [ {{ count: {instances}, kind: KIND_CPU }} ]
input [
  {{ name: "tokens", data_type: TYPE_INT32, dims: [ {slots} ] }},
  {{ name: "observed", data_type: TYPE_BOOL, dims: [ {slots} ] }}
]
output [ {{ name: "drawn", data_type: TYPE_INT32, dims: [ {slots} ] }} ]
parameters {{ key: "noise_width", value: {{ string_value: "{noise_width}" }} }}
"""

# One run of the student a batch; the noise is made here, as in our own server.
MODEL = """\
import json
import os

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.width = int(config["parameters"]["noise_width"]["string_value"])
        self.rng = np.random.default_rng()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.onnx")
        self.run = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run

    def execute(self, requests):
        read = pb_utils.get_input_tensor_by_name
        tokens = [read(request, "tokens").as_numpy() for request in requests]
        observed = [read(request, "observed").as_numpy() for request in requests]
        rows = [len(part) for part in tokens]
        feed = {
            "tokens": np.concatenate(tokens),
            "observed": np.concatenate(observed),
            "noise": self.rng.random((sum(rows), self.width), dtype=np.float32),
        }
        drawn = self.run(None, feed)[0]
        parts = np.split(drawn, np.cumsum(rows)[:-1])
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("drawn", part)]) for part in parts
        ]
"""


def write_model(folder: Path, release: Release, instances: int) -> None:
    """The student as a Triton model, in a model repository."""
    version = folder / STUDENT / "1"
    version.mkdir(parents=True)
    config = CONFIG.format(
        max_batch=MAX_BATCH,
        instances=instances,
        slots=len(release.codec.layout.sizes),
        noise_width=int(release.manifest.student["noise_width"]),
    )
    (folder / STUDENT / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(MODEL)
    (version / "model.onnx").write_bytes(release.student)


@contextmanager
def triton(release: Release, instances: int = 1) -> Iterator[str]:
    """A Triton server with the student, ready; yields where its gRPC listens.

    Raises:
        LoadFailed: it cannot be installed, or does not become ready; says what it wrote last.
    """
    with tempfile.TemporaryDirectory(prefix="triton-models-") as models:
        write_model(Path(models), release, instances)
        with started(Path(models), [STUDENT]) as server:
            yield server.target


@dataclass
class TritonServer:
    """A Triton server of a model repository.

    Attributes:
        target: where its gRPC listens; the same when it is started again.
        process: it.
    """

    command: list[str | Path]
    variables: dict[str, str]
    models: list[str]
    log: Path
    target: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until its models are ready.

        Raises:
            LoadFailed: they do not become ready; says what it wrote last.
        """
        with self.log.open("w") as out:
            # A group of its own, with the processes that run its models.
            self.process = subprocess.Popen(
                self.command,
                env=self.variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        for model in self.models:
            wait_ready(self.target, model, self.process, self.log)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, and to the processes that run its models."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """As a machine that loses its power."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(30)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@contextmanager
def started(repository: Path, models: list[str]) -> Iterator[TritonServer]:
    """A Triton server of a model repository, once its models are ready.

    Raises:
        LoadFailed: it cannot be installed, or does not become ready; says what it wrote last.
    """
    try:
        home = environment(*PACKAGES)
    except NotInstalled as exc:
        raise LoadFailed(str(exc)) from exc
    packages = next((home / "lib").glob("python*/site-packages"))
    server = packages / "pytriton" / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(prefix="triton-") as scratch:
        backends = Path(scratch) / "backends"
        shutil.copytree(server / "backends" / "python", backends / "python")
        stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
        shutil.copy(stub, backends / "python")
        (backends / "python" / stub.name).chmod(0o755)
        port = free_port()
        libraries = [packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
        program = server / "bin" / "tritonserver"
        program.chmod(0o755)
        found = TritonServer(
            command=[
                program,
                f"--model-repository={repository}",
                f"--backend-directory={backends}",
                f"--grpc-port={port}",
                "--grpc-address=127.0.0.1",
                "--allow-http=false",
                "--allow-metrics=false",
            ],
            variables={
                **os.environ,
                "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
                # The stub starts the first python3 it finds.
                "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            },
            models=models,
            log=Path(scratch) / "log",
            target=f"127.0.0.1:{port}",
        )
        try:
            found.start()
            yield found
        finally:
            found.stop()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_ready(target: str, model: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until a model answers that it is ready."""
    until = time.monotonic() + READY_SECONDS
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(MODEL_READY)
        while time.monotonic() < until and process.poll() is None:
            try:
                if ask(text_field(1, model), timeout=1, wait_for_ready=True) == b"\x08\x01":
                    return
            except grpc.RpcError:
                time.sleep(0.1)
    raise LoadFailed(f"Triton is not ready: {log.read_text()[-1500:]}")


def infer_request(
    tokens: NDArray[np.int32], observed: NDArray[np.bool_], model: str = STUDENT
) -> bytes:
    """A ModelInferRequest of the student, tensors as raw bytes.

    Written field by field: the protocol's generated code and that of Triton's client cannot live in
    one process.
    """
    message = text_field(1, model)
    for name, kind, value in (("tokens", "INT32", tokens), ("observed", "BOOL", observed)):
        shape = b"".join(varint(n) for n in value.shape)
        tensor = text_field(1, name) + text_field(2, kind) + bytes_field(3, shape)
        message += bytes_field(5, tensor)
    for value in (tokens, observed):
        message += bytes_field(7, np.ascontiguousarray(value).tobytes())
    return message


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def text_field(number: int, value: str) -> bytes:
    return bytes_field(number, value.encode())
