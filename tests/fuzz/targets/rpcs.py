"""Every RPC of the server: the message, whatever it is, of a call whose headers are in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.fuzz.target import Target
from tests.fuzz.targets import requests
from tests.fuzz.targets.requests import NEXT

NAMES = (
    b"payments", b"everything", b"ledger", b"amount", b"channel", b"items", b"member", b"fraud",
    b"web", b"app", b"shop", b"total", b"job0", b"job1", b"payments_student", b"payments_teacher",
    b"\x18\x01", b"\x20\x03", b"\x30\x07", b"\x38\x02", b"\x40\x01", b"\x58\x01", b"\x08\x02",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x08", NEXT,
)  # fmt: skip
SYNTHESIS = "/cascade.v1.Synthesis/"
# Of what waits for something that is never to come.
SOON = "30m"
SERVER = (
    "cascade_server.services", "cascade_server.wire", "cascade_server.cascade",
    "cascade_server.store", "cascade_server.jobs", "cascade_jobs", "cascade_tables.codecs",
)  # fmt: skip


def _one(path: str, streams: bool = False) -> Callable[[], Callable[[bytes], None]]:
    """A method of its own."""

    def opened() -> Callable[[bytes], None]:
        from tests.fuzz.targets.server import served

        server = served()

        def run(data: bytes) -> None:
            server.ask(path, data.split(NEXT)[:8] if streams else [data])

        return run

    return opened


def _several(
    service: str, methods: Callable[[], Sequence[str]], release_control: bool = False
) -> Callable[[], Callable[[bytes], None]]:
    """The methods of a service: which, the first byte says."""

    def opened() -> Callable[[bytes], None]:
        from tests.fuzz.targets.server import served

        server, names = served(release_control), methods()

        def run(data: bytes) -> None:
            name = names[data[0] % len(names)] if data else names[0]
            server.ask(f"/{service}/{name}", data[1:].split(NEXT)[:8], SOON)

        return run

    return opened


def _methods(module: str, service: str) -> Callable[[], Sequence[str]]:
    def found() -> Sequence[str]:
        import importlib

        descriptor = importlib.import_module(module).DESCRIPTOR
        return [each.name for each in descriptor.services_by_name[service].methods]

    return found


TOLD = ("ListTables", "DescribeTable", "GetStatistics", "GetServiceLevel", "GetUsage")

TARGETS = (
    Target("synthesize", "Synthesize", _one(f"{SYNTHESIS}Synthesize"), requests.synthesize, NAMES,
           SERVER),
    Target("synthesize-stream", "SynthesizeStream, several messages",
           _one(f"{SYNTHESIS}SynthesizeStream", streams=True), requests.stream, NAMES, SERVER),
    Target("generate", "Generate", _one(f"{SYNTHESIS}Generate"), requests.generate, NAMES, SERVER),
    Target("tables", "ListTables, DescribeTable, GetStatistics, GetServiceLevel, GetUsage",
           _several("cascade.v1.Synthesis", lambda: TOLD), requests.described, NAMES, SERVER),
    Target("jobs", "SubmitJob, GetJob, WatchJob, CancelJob, ListJobs, ReadResult",
           _several("cascade.v1.Jobs", _methods("cascade_proto.jobs_pb2", "Jobs")), requests.jobs,
           (*NAMES, b"student", b"teacher", b"data/part-00000.parquet", b"_manifest.json"), SERVER),
    Target("flight", "Arrow Flight: descriptors, tickets, criteria, actions",
           _several("arrow.flight.protocol.FlightService",
                    _methods("cascade_proto.flight_pb2", "FlightService")), requests.flight,
           (*NAMES, b"job0/0", b"CancelFlightInfo"), SERVER),
    Target("open-inference", "the Open Inference Protocol",
           _several("inference.GRPCInferenceService",
                    _methods("cascade_proto.inference_pb2", "GRPCInferenceService")),
           requests.open_inference,
           (*NAMES, b"BYTES", b"FP64", b"INT32", b"BOOL", b"INT64", b"tokens", b"observed",
            b"noise", b"seed", b"draws", b"timeout", b"state", b"log_likelihood"), SERVER),
    Target("releases", "control of releases",
           _several("cascade.v1.Releases", _methods("cascade_proto.synthesis_pb2", "Releases"),
                    release_control=True),
           requests.releases, NAMES, SERVER),
    Target("health", "the standard health service",
           _several("grpc.health.v1.Health", lambda: ("Check", "Watch")), requests.health, NAMES,
           SERVER),
    Target("reflection", "the standard reflection service",
           _one("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", streams=True),
           requests.reflection, (*NAMES, b"cascade.v1.Synthesis", b"synthesis.proto"), SERVER),
)  # fmt: skip
