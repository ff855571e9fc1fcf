"""Load from outside Python: gRPC calls by nghttp2's h2load, latencies call by call."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.frames import grpc_message

# Calls in flight where a server is to be busy.
IN_FLIGHT = 16
# Calls that warm a server: so many in flight, and a quarter of them one at a time.
WARM_CALLS = 2000


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        milliseconds: of each call, in the order they ended.
        calls_per_s: over the run.
    """

    milliseconds: NDArray[np.float64]
    calls_per_s: float

    def quantile(self, q: float) -> float:
        """Milliseconds that a share of the calls took at most."""
        return float(np.quantile(self.milliseconds, q))


def load(
    target: str,
    method: str,
    message: bytes,
    calls: int,
    in_flight: int,
    connections: int = 1,
    headers: Sequence[str] = (),
    tls: bool = False,
) -> Measured:
    """Call `method` ("/package.Service/Method") `calls` times over some connections, `in_flight`
    at once over all of them; with `tls` over TLS, whoever the server says that it is.

    Further headers are as in "name: value". Over TLS h2load takes any certificate. It counts HTTP
    200 as success, and a failed gRPC call is one too: make sure beforehand that the message is
    answered.

    Raises:
        LoadFailed: h2load is not installed, or a call did not end with HTTP 200.
    """
    program = shutil.which("h2load")
    if program is None:
        raise LoadFailed("h2load is not installed; Debian's package is nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body.bin", Path(folder) / "log.tsv"
        body.write_bytes(grpc_message(message))
        command = [program, "-n", str(calls), "-c", str(connections)]
        command += ["-m", str(in_flight // connections), "-d", str(body)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        for header in headers:
            command += ["-H", header]
        command += [f"--log-file={log}", f"{'https' if tls else 'http'}://{target}{method}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise LoadFailed(f"h2load failed: {done.stderr or done.stdout}")
        found = [int(word) for word in log.read_text().split()]
    # A line a call: when it began and what it took, microseconds, and between them its status.
    lines = np.array(found, np.int64).reshape(-1, 3)
    if len(lines) != calls or (lines[:, 1] != 200).any():
        raise LoadFailed(f"{int((lines[:, 1] == 200).sum())} of {calls} calls ended with HTTP 200")
    start, micros = lines[:, 0], lines[:, 2]
    seconds = ((start + micros).max() - start.min()) / 1e6
    return Measured(micros / 1e3, float(calls / seconds))


def warm(
    target: str,
    method: str,
    message: bytes,
    calls: int = WARM_CALLS,
    headers: Sequence[str] = (),
    tls: bool = False,
) -> None:
    """Ask a server that has just been started as it is about to be asked.

    Whoever is compared with another is warmed alike. Ours learns meanwhile how long its networks
    take, and its pool what is asked for.

    Raises:
        LoadFailed: as `load`.
    """
    load(target, method, message, calls, IN_FLIGHT, headers=headers, tls=tls)
    load(target, method, message, calls // 4, 1, headers=headers, tls=tls)
