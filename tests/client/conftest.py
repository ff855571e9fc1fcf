"""A real gRPC server with a scripted service, and clients whose time is told, not waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cascade_client import Client
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import (
    SynthesisServicer,
    add_SynthesisServicer_to_server,
)

SCHEMA = [
    pb.ColumnDescription(name="age", kind="integer", dtype="int64", minimum=0, maximum=100),
    pb.ColumnDescription(
        name="income", kind="continuous", dtype="float64", nullable=True, minimum=-1, maximum=1e6
    ),
    pb.ColumnDescription(
        name="city", kind="categorical", dtype="string", nullable=True, categories=["Rome", "Oslo"]
    ),
    pb.ColumnDescription(
        name="shade", kind="categorical", dtype="int64", categories=["1", "2"], other="(other)"
    ),
    pb.ColumnDescription(name="member", kind="boolean", dtype="bool"),
    pb.ColumnDescription(
        name="joined", kind="datetime", dtype="datetime64[us]", minimum=0, maximum=86_400e6
    ),
]

# What the scripted server synthesises: field of pb.Column and value, by column.
SYNTHETIC: dict[str, tuple[str, Any]] = {
    "age": ("integers", 40),
    "income": ("doubles", 1.5),
    "city": ("strings", "Rome"),
    "shade": ("strings", "2"),
    "member": ("booleans", True),
    "joined": ("integers", 3_600_000_000),
}

# What the scripted server promises, and how it keeps it.
LEVEL = pb.GetServiceLevelResponse(
    service="scoring",
    window_seconds=30 * 86_400,
    since=1_767_323_045_000_000,
    objectives=[
        pb.ObjectiveStatus(
            name="people-realtime-availability",
            table="people",
            class_of_service=pb.CLASS_OF_SERVICE_REALTIME,
            kind=pb.OBJECTIVE_KIND_AVAILABILITY,
            target=0.999,
            good=99_000,
            total=100_000,
            budget_remaining=-9.0,
            burn_rates=[
                pb.BurnRate(window_seconds=seconds, rate=15.5, good=99, total=100)
                for seconds in (300, 1800, 3600, 21_600, 86_400, 259_200)
            ],
            alert=pb.ALERT_STATE_PAGE,
        ),
        pb.ObjectiveStatus(
            name="people-realtime-latency-50ms",
            table="people",
            class_of_service=pb.CLASS_OF_SERVICE_REALTIME,
            kind=pb.OBJECTIVE_KIND_LATENCY,
            target=0.99,
            threshold_microseconds=50_000,
            good=9990,
            total=10_000,
            budget_remaining=0.9,
            burn_rates=[
                pb.BurnRate(window_seconds=seconds, rate=0.1, good=9990, total=10_000)
                for seconds in (300, 1800, 3600, 21_600, 86_400, 259_200)
            ],
            alert=pb.ALERT_STATE_OK,
        ),
        pb.ObjectiveStatus(
            name="people-full-fidelity-teacher",
            table="people",
            class_of_service=pb.CLASS_OF_SERVICE_FULL,
            kind=pb.OBJECTIVE_KIND_FIDELITY,
            target=0.5,
            tier=pb.TIER_TEACHER,
            budget_remaining=1.0,
            burn_rates=[
                pb.BurnRate(window_seconds=seconds)
                for seconds in (300, 1800, 3600, 21_600, 86_400, 259_200)
            ],
            alert=pb.ALERT_STATE_OK,
        ),
    ],
    latencies=[
        pb.LatencyQuantiles(
            table="people",
            class_of_service=pb.CLASS_OF_SERVICE_REALTIME,
            tier=pb.TIER_STUDENT,
            count=1234,
            quantiles=[
                pb.Quantile(quantile=quantile, microseconds=microseconds)
                for quantile, microseconds in ((0.5, 310), (0.9, 420), (0.99, 1110), (0.999, 5200))
            ],
        )
    ],
)


@dataclass
class Fault:
    """An answer that is an error."""

    code: grpc.StatusCode
    details: str = "as scripted"
    pushback: str | None = None


@dataclass
class ScriptedService(SynthesisServicer):
    """Fills absent cells with `SYNTHETIC`; fails as `faults` say, first come first served.

    `breaks` does the same to whole streams, which `streams` counts.
    `headers` holds those of the last `Synthesize`, `requests` every request but those for a
    schema, `described` counts these; `arrived` is set by a request, which then waits while `hold`
    is clear; `ended` is set when a stream ends, however it does.

    Rows that `Generate` makes are told apart by their age, which is their place in the stream.
    `ends` says of each of its streams to come after how many messages it ends, and how; None: it
    just ends. With `resumes` False it knows nothing of `done`, as servers of before.
    """

    faults: list[Fault] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    headers: dict[str, Any] = field(default_factory=dict)
    breaks: list[Fault] = field(default_factory=list)
    streams: int = 0
    described: int = 0
    version: int = 3
    chunk: int = 2
    ends: list[tuple[int, Fault | None]] = field(default_factory=list)
    resumes: bool = True
    ready: list[int] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    hold: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    def Synthesize(self, request: Any, context: Any) -> Any:
        self.headers = dict(context.invocation_metadata())
        self._take(request, context)
        return self._synthesized(request)

    def _synthesized(self, request: Any) -> Any:
        rows = complete(request.rows, request.draws, list(request.columns))
        scores = [-1.5] * request.rows.count if request.log_likelihood else []
        made = self._provenance(request, pb.TIER_STUDENT)
        for column in request.rows.columns:
            for row, value in enumerate(column.integers.values):
                if column.name == "age" and value > 100:
                    above = {"column": "age", "kind": pb.OUTSIDE_KIND_ABOVE}
                    made.outside_values.add(row=row, conditioned_on="100", **above)
                    made.outside_totals.add(values=1, **above)
                    made.notices.append(f"column 'age': {value} is above all that was learnt")
        return pb.SynthesizeResponse(rows=rows, log_likelihood=scores, provenance=made)

    def SynthesizeStream(self, messages: Any, context: Any) -> Iterator[Any]:
        self.streams += 1
        for message in messages:
            answers = []
            for each in message.requests:
                self.requests.append(each.request)
                self.arrived.set()
                self.hold.wait(10)
                if self.breaks:
                    fail(context, self.breaks.pop(0))
                answer = pb.StreamedAnswer(id=each.id)
                if self.faults:
                    fault = self.faults.pop(0)
                    answer.failure.code = fault.code.value[0]
                    answer.failure.message = fault.details
                    if fault.pushback is not None:
                        answer.failure.pushback_milliseconds = int(fault.pushback)
                else:
                    answer.response.CopyFrom(self._synthesized(each.request))
                answers.append(answer)
            yield pb.SynthesizeStreamResponse(answers=answers)

    def Generate(self, request: Any, context: Any) -> Iterator[Any]:
        self._take(request, context)
        context.add_callback(self.ended.set)
        given = request.given if request.HasField("given") else pb.Rows(count=1)
        messages, end = self.ends.pop(0) if self.ends else (None, None)
        done = request.done if self.resumes else 0
        for number, start in enumerate(range(done, request.count, self.chunk)):
            if number == messages:
                if end is not None:
                    fail(context, end)
                return
            count = min(self.chunk, request.count - start)
            rows = complete(given, count, list(request.columns))
            if not any(column.name == "age" for column in given.columns):
                for column in rows.columns:
                    if column.name == "age":
                        column.integers.values[:] = range(start, start + count)
            yield pb.GenerateResponse(
                rows=rows,
                done=start + count,
                total=request.count,
                provenance=self._provenance(request, pb.TIER_TEACHER),
            )

    def ListTables(self, request: Any, context: Any) -> Any:
        self._take(request, context)
        return pb.ListTablesResponse(
            tables=[pb.TableSummary(table="people", versions=[1, 3], columns=len(SCHEMA))]
        )

    def DescribeTable(self, request: Any, context: Any) -> Any:
        self.described += 1
        if request.table != "people":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no table {request.table!r}: people")
        version = request.version or self.version
        return pb.DescribeTableResponse(
            table="people",
            columns=SCHEMA,
            dropped=[pb.DroppedColumn(name="id", reason="identifier")],
            releases=[
                pb.ReleaseDescription(
                    version=version,
                    created="2026-01-02T03:04:05Z",
                    schema_fingerprint="ab" * 32,
                    fidelity=[pb.FidelityFigures(tier="student", figures={"xgb_c2st": 0.94})],
                )
            ],
        )

    def GetServiceLevel(self, request: Any, context: Any) -> Any:
        self._take(request, context)
        return LEVEL

    def _take(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        self.arrived.set()
        self.hold.wait(10)
        if self.faults:
            fail(context, self.faults.pop(0))

    def _provenance(self, request: Any, tier: Any) -> Any:
        return pb.Provenance(
            synthetic=True,
            table=request.table,
            version=request.version or self.version,
            tier=tier,
            steps=1,
            seed=request.seed if request.HasField("seed") else 77,
            timings=pb.Timings(encode=10, queue=20, compute=200, decode=20),
        )


def fail(context: Any, fault: Fault) -> None:
    if fault.pushback is not None:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", fault.pushback),))
    context.abort(fault.code, fault.details)


def complete(rows: Any, draws: int, columns: list[str]) -> Any:
    """Observed cells as they came, absent ones from `SYNTHETIC`, each row `draws` times."""
    asked = {column.name: column for column in rows.columns}
    answer = []
    for name in columns or SYNTHETIC:
        field_name, value = SYNTHETIC[name]
        states = asked[name].states if name in asked else b"\x02" * rows.count
        states = states or bytes(rows.count)
        used = (asked[name].WhichOneof("values") if name in asked else None) or field_name
        given = list(getattr(asked[name], used).values) if name in asked else []
        given = given or [value] * rows.count
        values = [value if state == 2 else g for g, state in zip(given, states, strict=True)]
        column = pb.Column(name=name, states=bytes(s % 2 for s in states for _ in range(draws)))
        if any(state != 1 for state in states):
            getattr(column, used).values.extend(v for v in values for _ in range(draws))
        answer.append(column)
    return pb.Rows(count=rows.count * draws, columns=answer)


def health_handler(service: ScriptedService) -> grpc.GenericRpcHandler:
    """The health service: `service.ready` is the statuses to come, SERVING after them."""

    def check(request: bytes, context: Any) -> bytes:
        assert request == b""
        status = service.ready.pop(0) if service.ready else 1
        return bytes([0x08, status]) if status else b""

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )


@dataclass
class Told:
    """Time that passes only when someone sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
def target(service: ScriptedService) -> Iterator[str]:
    """Where a server with the scripted service listens."""
    server = grpc.server(ThreadPoolExecutor(4))
    add_SynthesisServicer_to_server(service, server)
    server.add_generic_rpc_handlers((health_handler(service),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def client(target: str, told: Told) -> Iterator[Client]:
    """A client of that server with a generous deadline and told time."""
    with Client(
        target, timeout=20.0, clock=told.clock, sleep=told.sleep, rng=lambda: 0.5
    ) as client:
        yield client


@pytest.fixture
def fault() -> type[Fault]:
    return Fault
