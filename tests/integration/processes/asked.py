"""What is asked of the processes of a server, and what the system says of them."""

from __future__ import annotations

import urllib.request

import grpc
import psutil
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from prometheus_client.parser import text_string_to_metric_families

from tests.server.messages import ask, row
from tests.typed import SOON


def connections(worker: psutil.Process) -> int:
    """Callers that a worker has."""
    found = worker.net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in found)


def ask_over_new_connections(target: str, calls: int) -> None:
    """Each of them reaches whichever worker the kernel chooses."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    for _ in range(calls):
        with grpc.insecure_channel(target, options) as channel:
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            stub.Synthesize(ask(row(items=3), fidelity=pb.FIDELITY_FAST), timeout=SOON)


def statistics(target: str) -> pb.GetStatisticsResponse:
    """As the worker of one new connection has them."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        return stub.GetStatistics(pb.GetStatisticsRequest(), timeout=SOON, wait_for_ready=True)


def student_runs(target: str) -> int:
    engines = statistics(target).engines
    return sum(each.runs for each in engines if each.tier == pb.TIER_STUDENT)


def calls_that_ended_well(url: str) -> float:
    """What Prometheus would be told."""
    with urllib.request.urlopen(url, timeout=SOON) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "cascade_requests_total" and sample.labels["code"] == "OK"
    )
