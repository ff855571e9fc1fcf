"""A real Triton server without a container, on any model repository.

The PyPI wheel `nvidia-pytriton` carries `tritonserver` 2.51, its Python backend, the stub that runs
a model, and a response cache. That stub was built for NumPy 1 (with NumPy 2 it misreads every
tensor), so it has an environment of its own, made once in the cache directory; this checkout's
packages are laid over it. There is no ONNX and no TensorRT backend in it.

    python -m benchmarks.peers.triton_server model_repository --port 8001
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.peers.environments import NotInstalled, environment
from benchmarks.peers.triton_messages import READY, SERVER_READY
from benchmarks.tables import ROOT

# Pinned, as constraints.txt pins everything else; NumPy as the wheel wants it.
PACKAGES = (
    "nvidia-pytriton==0.7.0",
    "numpy==1.26.4",
    "onnxruntime==1.32.0",
    "grpcio==1.81.1",
    "protobuf==6.33.6",
    "click==8.5.1",
    "PyYAML==6.0.3",
)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCES = ("proto", "tables", "client", "jobs", "server", "distill")
READY_SECONDS = 120
STOP_SECONDS = 30


class TritonFailed(Exception):
    """Triton does not become ready; says what it wrote last."""


@dataclass
class Triton:
    """A Triton server, and what it takes to start it again.

    Attributes:
        target: where its gRPC listens, "127.0.0.1:PORT"; the same when it is started again.
        command, variables: how it is started.
        log: what it writes.
        process: it; its models' processes are its children, and of its group.
    """

    target: str
    command: list[str]
    variables: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the Triton that is running."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, and wait until every model that it loads is ready.

        Raises:
            TritonFailed: it does not become ready; says what it wrote last.
        """
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                self.command,
                env=self.variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _wait_ready(self.target, self.process, self.log)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, and to the processes that run its models."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """As a machine that loses its power."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def installed() -> Path:
    """The environment with Triton's wheel; made on first use.

    Raises:
        NotInstalled: it cannot be had here.
    """
    home = environment(*PACKAGES)
    if not _stub(_server(home)).exists():
        raise NotInstalled(f"Triton's wheel has no stub for Python {PYTHON}")
    library = f"libpython{PYTHON}.so.1.0"
    beside = Path(sysconfig.get_config_var("LIBDIR") or "/") / library
    if not (beside.exists() or find_library(f"python{PYTHON}")):
        raise NotInstalled(f"{library}, which Triton's stub runs models with, is not installed")
    return home


@contextmanager
def triton(
    repository: Path, *options: str, models: Sequence[str] = (), port: int = 0
) -> Iterator[Triton]:
    """Serve a model repository, until the block ends.

    Args:
        repository: a folder of models in Triton's layout.
        options: of `tritonserver` beside those given here, such as
            "--cache-config=local,size=1048576".
        models: load only these; all where none is named. A model that others call is named too.
        port: of its gRPC; 0: any that is free.

    Raises:
        NotInstalled: its wheel cannot be had here.
        TritonFailed: it does not become ready; says what it wrote last.
    """
    home = installed()
    server = _server(home)
    packages = server.parents[1]
    with tempfile.TemporaryDirectory(prefix="triton-") as scratch:
        folder = Path(scratch)
        program = server / "bin" / "tritonserver"
        program.chmod(0o755)
        port = port or free_port()
        command = [
            str(program),
            f"--model-repository={repository}",
            f"--backend-directory={_backends(server, folder / 'backends')}",
            f"--cache-directory={server / 'caches'}",
            f"--grpc-port={port}",
            "--grpc-address=127.0.0.1",
            "--allow-http=false",
            "--allow-metrics=false",
            *options,
        ]
        if models:
            command += ["--model-control-mode=explicit", *(f"--load-model={m}" for m in models)]
        libraries = [packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
        variables = {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            # The stub starts the first python3 it finds, and heeds no PYTHONPATH.
            "PATH": f"{_python(folder / 'python', packages)}:{os.environ['PATH']}",
            # Models share the cores; each has one thread.
            "OMP_NUM_THREADS": "1",
            # A repository is served as it is, and left so.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        found = Triton(f"127.0.0.1:{port}", command, variables, folder / "log")
        try:
            found.start()
            yield found
        finally:
            found.stop()


def _server(home: Path) -> Path:
    packages = next((home / "lib").glob("python*/site-packages"))
    return packages / "pytriton" / "tritonserver"


def _stub(server: Path) -> Path:
    return server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"


def _backends(server: Path, folder: Path) -> Path:
    """Python's backend with the stub of this Python beside it, as Triton looks for it."""
    shutil.copytree(server / "backends" / "python", folder / "python")
    stub = Path(shutil.copy(_stub(server), folder / "python"))
    stub.chmod(0o755)
    return folder


def _python(folder: Path, packages: Path) -> Path:
    """An interpreter that finds this checkout's packages, then those beside Triton's; its `bin`."""
    version = f"python{PYTHON}"
    site = folder / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    lines = [*(str(ROOT / source) for source in SOURCES), str(packages)]
    (site / "cascade.pth").write_text("\n".join(lines) + "\n")
    base = Path(sys.base_prefix) / "bin"
    (folder / "pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(base / version)
    return folder / "bin"


def free_port() -> int:
    """One that nothing listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_ready(target: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until every model that it loads is ready."""
    until = time.monotonic() + READY_SECONDS
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(SERVER_READY)
        while time.monotonic() < until and process.poll() is None:
            with suppress(grpc.RpcError):
                if ask(b"", timeout=1) == READY:
                    return
            time.sleep(0.1)
    lines = log.read_text(errors="replace").splitlines()
    # Without what it tells of its progress, and tables of all its settings.
    said = [line for line in lines if line and line[0] not in "IW|+"][-40:]
    raise TritonFailed("\n".join(["Triton is not ready:", *said]))


def main() -> None:
    """Serve until it ends or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.triton_server",
        description="Serve a model repository in a real Triton, from its wheel.",
    )
    parser.add_argument("repository", type=Path, nargs="?", default=ROOT / "model_repository")
    parser.add_argument("--port", type=int, default=8001)
    options = parser.parse_args()
    try:
        with triton(options.repository, port=options.port) as server, suppress(KeyboardInterrupt):
            print(f"Triton serves {options.repository} on {server.target}", flush=True)
            if server.process is not None:
                server.process.wait()
    except (NotInstalled, TritonFailed) as exc:
        sys.exit(f"error: {exc}")


if __name__ == "__main__":
    main()
