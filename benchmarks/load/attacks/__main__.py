"""Whether one caller can keep a server from another: HTTP/2 and gRPC attacks, one after another.

    python -m benchmarks.attacks                        all, on `cascade serve` as it is
    python -m benchmarks.attacks --transport grpcio     the peer, for comparison
    python -m benchmarks.attacks --only ping            those whose names have "ping" in them

Each attack meets a fresh server, one worker, every option as it is by default. It lasts some
seconds, comes from a process of its own, over as many connections as it says, and a connection that
the server closes is made anew. Beside it one caller asks for a row every 20 ms, by grpcio's client
on a connection of its own. An attack is held if this caller's longest call takes 250 ms at most,
none of its calls fails, and the server's processes together grow by at most 64 MiB for each of the
attack's connections.

The last line is one JSON object: worst_good_ms and worst_attack; rss_growth_mib, the largest for a
connection; attacks, an entry each; held, whether all were.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.requests import late_features
from cascade_loadtest.servers import default_server, serving
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from rich.console import Console

from benchmarks.load.attacks.attacker import Attack, carry_out
from benchmarks.load.attacks.bodies import BODIES
from benchmarks.load.attacks.floods import FLOODS
from benchmarks.tables import ROOT

ATTACKS = {each.name: each for each in (*FLOODS, *BODIES)}
HELD_MS, HELD_MIB = 250.0, 64.0
SECONDS, EVERY_S, DEADLINE_S, WARM_CALLS = 3.0, 0.02, 5.0, 50
TRANSPORTS = ("http2", "grpcio")
MIB = 2**20
console = Console(stderr=True, highlight=False, soft_wrap=True)


def resident() -> int:
    """Bytes of the server's processes, which are this one's descendants."""
    found = 0
    for each in psutil.Process().children(recursive=True):
        try:
            if "benchmarks.attacks" not in each.cmdline():
                found += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found


class GoodCaller:
    """Asks for a row every 20 ms, and remembers how long that took.

    Attributes:
        milliseconds: of each call.
        failed: codes of calls that failed, and how many.
    """

    def __init__(self, target: str, message: bytes) -> None:
        self.milliseconds: list[float] = []
        self.failed: dict[str, int] = {}
        self._channel = grpc.insecure_channel(target)
        stub = SynthesisStub(self._channel)  # type: ignore[no-untyped-call]
        self._ask, self._message = stub.Synthesize, pb.SynthesizeRequest.FromString(message)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._channel.close()

    def ask(self) -> None:
        """One call of the good caller's, which raises whatever it was told."""
        began = time.monotonic()
        try:
            self._ask(self._message, timeout=DEADLINE_S)
        except grpc.RpcError as exc:
            code = exc.code().name  # type: ignore[attr-defined]
            self.failed[code] = self.failed.get(code, 0) + 1
        self.milliseconds.append((time.monotonic() - began) * 1e3)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self.ask()
            due = max(due + EVERY_S, time.monotonic())
            self._stop.wait(due - time.monotonic())


def tried(attack: Attack, transport: str, repository: Path, seconds: float) -> dict[str, Any]:
    """Start a server, attack it, and say how the good caller and its memory did.

    Raises:
        LoadFailed: the server does not start.
    """
    with serving(default_server(repository, "--transport", transport)) as server:
        target = server.target
        message, _ = late_features(target, "credit")
        good = GoodCaller(target, message)
        for _ in range(WARM_CALLS):
            good.ask()
        good.milliseconds.clear()
        before = most = resident()
        good.start()
        port = target.rpartition(":")[2]
        command = [sys.executable, "-m", "benchmarks.attacks", "--attack", attack.name, port]
        with subprocess.Popen(
            [*command, "--seconds", str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as attacker:
            while attacker.poll() is None:
                most = max(most, resident())
                time.sleep(0.05)
            assert attacker.stdout is not None
            came = json.loads(attacker.stdout.read() or "{}")
        good.stop()
        most = max(most, resident())
    worst, growth = max(good.milliseconds), (most - before) / MIB / attack.connections
    return {
        "name": attack.name,
        "good_ms": round(worst, 1),
        "good_failed": good.failed,
        "rss_growth_mib": round(growth, 1),
        **came,
        "held": worst <= HELD_MS and growth <= HELD_MIB and not good.failed,
    }


def main() -> None:
    """Try each attack; or, as the process of one, attack."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--transport", choices=TRANSPORTS, default=TRANSPORTS[0])
    parser.add_argument("--only", default="", help="attacks with this in their names; a,b: either")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each attack")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--attack", nargs=2, metavar=("NAME", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        name, port = options.attack
        print(json.dumps(carry_out(ATTACKS[name], int(port), options.seconds)))
        return
    wanted = options.only.split(",")
    found = []
    for attack in ATTACKS.values():
        if not any(part in attack.name for part in wanted):
            continue
        try:
            one = tried(attack, options.transport, options.repository, options.seconds)
        except LoadFailed as exc:
            sys.exit(f"error: {exc}")
        console.print(
            f"{'held' if one['held'] else 'NOT HELD':8} {attack.name:28} good caller "
            f"{one['good_ms']:7.1f} ms, {one['rss_growth_mib']:6.1f} MiB a connection, "
            f"sent away {one.get('closed', 0)} times {one['good_failed'] or ''}"
        )
        found.append(one)
    if not found:
        sys.exit(
            f"error: no attack has {options.only!r} in its name; there are {', '.join(ATTACKS)}"
        )
    worst = max(found, key=lambda one: one["good_ms"])
    result = {
        "transport": options.transport,
        "worst_good_ms": worst["good_ms"],
        "worst_attack": worst["name"],
        "rss_growth_mib": max(one["rss_growth_mib"] for one in found),
        "attacks": found,
        "held": all(one["held"] for one in found),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
