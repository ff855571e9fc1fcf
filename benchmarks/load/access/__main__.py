"""What it costs to ask who asks: p50 and p99 with keys, tokens and TLS beside none of them.

    python -m benchmarks.access --table credit

The same server, `cascade serve` without a pool and a cache, several times beside each other: one
that asks nobody (none), one that is shown an API key (key) or a token (jwt), whose tenant has
rates, and one that speaks TLS (tls). h2load asks them one call at a time, in short blocks by turns,
so that whatever else the machine does meets all of them alike; a quantile is of all blocks of a
server together. grpcio's own server is asked in the same turns, in the clear and over TLS: what TLS
costs it (grpcio_tls_p99_ratio) stands beside what it costs ours.

The last line is one JSON object. worst_key_ratio is the larger of key_p50_ratio and key_p99_ratio,
of key to none; interval_p99 has the middle half of the blocks' ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
import numpy as np
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import load, warm
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import default_server, serving
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.access.keys import new_key
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from benchmarks.peers import certificates
from benchmarks.tables import ROOT

console = Console(stderr=True, highlight=False)

WARM = 1000
SERVER = ("--pool-mib", "0", "--cache-mib", "0")
# What is compared: a way, and the one that it adds something to.
PAIRS = (
    *(("key", "none"), ("jwt", "none"), ("tls", "none"), ("tls_key", "tls")),
    ("grpcio_tls", "grpcio"),
)
ISSUER, AUDIENCE = "https://login.bank.example", "cascade"


@dataclass
class Way:
    """A server, how it is asked, and what that took.

    Attributes:
        name: of the figures.
        options: of the server.
        headers: that are sent along.
        tls: whether TLS is spoken.
        target: where it serves.
        blocks: milliseconds of each call, a block a turn.
    """

    name: str
    options: Sequence[str] = ()
    headers: Sequence[str] = ()
    tls: bool = False
    target: str = ""
    blocks: list[Any] = field(default_factory=list)

    def ask(self, message: bytes, calls: int) -> None:
        """Ask a block of calls, one at a time."""
        found = load(self.target, SYNTHESIZE, message, calls, 1, headers=self.headers, tls=self.tls)
        self.blocks.append(found.milliseconds)

    def quantile(self, q: float) -> float:
        """Of all calls, milliseconds."""
        return float(np.quantile(np.concatenate(self.blocks), q))

    def check(self, message: bytes, certificate: bytes) -> None:
        """Make sure that it is answered: h2load takes a refusal for success.

        Raises:
            LoadFailed: it is not.
        """
        metadata = [tuple(each.split(": ", 1)) for each in self.headers]
        if self.tls:
            channel = grpc.secure_channel(self.target, grpc.ssl_channel_credentials(certificate))
        else:
            channel = grpc.insecure_channel(self.target)
        with channel:
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            try:
                stub.Synthesize(pb.SynthesizeRequest.FromString(message), metadata=metadata)
            except grpc.RpcError as exc:
                raise LoadFailed(f"{self.name} is not answered: {exc.details()}") from exc


def ways(folder: Path) -> tuple[list[Way], bytes]:
    """The servers, whose files are written into a folder, and the certificate."""
    key, record = new_key()
    signing = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(signing.public_key(), as_dict=True)
    (folder / "keys.json").write_text(json.dumps({"keys": [{**jwk, "kid": "one"}]}))
    (folder / "access.yaml").write_text(
        f"""
issuers:
  bank: {{issuer: "{ISSUER}", audience: {AUDIENCE}, algorithms: [ES256], keys: keys.json}}
tenants:
  fraud:
    keys: [{{id: {record.id}, sha256: {record.sha256.hex()}}}]
    tokens: [{{issuer: bank, claims: {{azp: service}}}}]
    tables: "*"
    may: [synthesize]
    rates: {{requests: 1000000, rows: 1000000}}
"""
    )
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 86_400, "azp": "service", "sub": "svc"}
    token = jwt.encode(claims, signing, "ES256", {"kid": "one"})
    certificate, private = certificates.make(folder)
    access = ("--access", str(folder / "access.yaml"))
    tls = ("--tls-certificate", str(certificate), "--tls-key", str(private))
    shown = (f"authorization: Bearer {key}",)
    found = [
        Way("none"),
        Way("key", access, shown),
        Way("jwt", access, (f"authorization: Bearer {token}",)),
        Way("tls", tls, (), True),
        Way("tls_key", (*tls, *access), shown, True),
    ]
    grpcio = ("--transport", "grpcio")
    found += [Way("grpcio", grpcio), Way("grpcio_tls", (*grpcio, *tls), (), True)]
    return found, certificate.read_bytes()


@contextmanager
def started(all_ways: Sequence[Way], repository: Path) -> Iterator[None]:
    """Run all servers until the block ends."""
    with ExitStack() as stack:
        for way in all_ways:
            command = default_server(repository, *SERVER, *way.options)
            way.target = stack.enter_context(serving(command)).target
        yield


def rotated(all_ways: Sequence[Way], number: int) -> list[Way]:
    """The same in another order: nobody is always first, or always after the same one."""
    turn = number % len(all_ways)
    return [*all_ways[turn:], *all_ways[:turn]]


def ratio_of_blocks(over: Way, under: Way, q: float, quartile: float) -> float:
    """A quartile of the ratios of blocks that were asked one after the other."""
    pairs = zip(over.blocks, under.blocks, strict=True)
    ratios = [float(np.quantile(a, q) / np.quantile(b, q)) for a, b in pairs]
    return round(float(np.quantile(ratios, quartile)), 3)


def figures(all_ways: Sequence[Way]) -> dict[str, Any]:
    """What is told of them."""
    by_name = {way.name: way for way in all_ways}
    found: dict[str, Any] = {}
    for way in all_ways:
        found |= {
            f"{way.name}_p50_ms": round(way.quantile(0.5), 3),
            f"{way.name}_p99_ms": round(way.quantile(0.99), 3),
        }
    for over, under in PAIRS:
        if over not in by_name or under not in by_name:
            continue
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            ratio = by_name[over].quantile(q) / by_name[under].quantile(q)
            found[f"{over}_{name}_ratio"] = round(ratio, 3)
    if "key" not in by_name:
        return found
    key, none = by_name["key"], by_name["none"]
    found["interval_p99"] = [ratio_of_blocks(key, none, 0.99, each) for each in (0.25, 0.75)]
    found["worst_key_ratio"] = max(found["key_p50_ratio"], found["key_p99_ratio"])
    return found


def main() -> None:
    """Start all, warm all, ask by turns, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.access", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--starts", type=int, default=4, help="of all servers")
    parser.add_argument("--rounds", type=int, default=12, help="blocks, from one start to the next")
    parser.add_argument("--calls", type=int, default=400, help="of a block")
    parser.add_argument("--only", help="some of the ways, with commas; none is always asked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="access-") as name:
        all_ways, certificate = ways(Path(name))
        if options.only:
            wanted = {"none", *options.only.split(",")}
            all_ways = [each for each in all_ways if each.name in wanted]
        try:
            message = b""
            for number in range(options.starts):
                # Two processes of one program are not equally fast, as chance has laid out their
                # memory: all are started anew, in another order.
                turned = rotated(all_ways, number)
                with started(turned, options.repository):
                    if not message:
                        none = next(way for way in all_ways if way.name == "none")
                        message, _ = late_features(none.target, options.table)
                    for way in turned:
                        way.check(message, certificate)
                        warm(way.target, SYNTHESIZE, message, WARM, way.headers, way.tls)
                    for block in range(options.rounds):
                        order = rotated(turned, block)
                        for way in order if block % 2 else order[::-1]:
                            way.ask(message, options.calls)
        except LoadFailed as exc:
            sys.exit(f"error: {exc}")
    found = figures(all_ways)
    for way in all_ways:
        console.print(
            f"{way.name}: p50 {way.quantile(0.5):.3f} ms, p99 {way.quantile(0.99):.3f} ms"
        )
    told = {
        "table": options.table,
        "blocks": options.starts * options.rounds,
        "calls": options.calls,
    }
    print(json.dumps({**told, **found}))


if __name__ == "__main__":
    main()
