"""A server that is a Python object; see `cascade_client.testing`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.async_client import AsyncClient
from cascade_client.calls import health
from cascade_client.client import Client
from cascade_client.errors import CascadeError
from cascade_client.messages.given import read
from cascade_client.messages.rows import pack
from cascade_client.messages.wire import FIDELITIES, Fidelity
from cascade_client.sessions.messages import StreamedError
from cascade_client.testing.channels import AsyncFakeChannel, FakeChannel
from cascade_client.testing.jobs import JOBS, FakeJobs, asked_of
from cascade_client.testing.refusals import as_rpc_error, check
from cascade_client.testing.tables import Asked, FakeTable, read_rows
from cascade_client.values.descriptions import TableDescription

SYNTHESIS, RELEASES = (
    pb.DESCRIPTOR.services_by_name[name].full_name for name in ("Synthesis", "Releases")
)
TARGET = "fake server"
LATE = "the answer took longer than the timeout"
FIDELITY_NAMES: Mapping[int, Fidelity] = {value: name for name, value in FIDELITIES.items()}  # type: ignore[misc]


class FakeServer:
    """A fake server that answers its own clients from tables that a test provides.

    >>> server = FakeServer({"credit": [{"age": 25, "income": 1800.0}]})
    >>> server.refuse(Overloaded("busy", retry_after=0.1), times=2)
    >>> with server.client() as client:
    ...     client.synthesize("credit", {"age": 30})

    Time is simulated: slow answers, waits between retries and sleeps pass at once, on `clock`.
    Concurrent calls overlap in simulated time.

    Args:
        tables: by name: a list of dicts or a frame of any kind, whose rows are the answers; a
            `TableDescription`, within which values are drawn at random; or a `FakeTable`, for a
            function and other settings.
        chunk_rows: rows per message of a stream, and per file of a job, >= 1.
        max_rows, max_message_bytes: limits of one request; larger frames go in parts.

    Attributes:
        asked: every `Synthesize`, `Generate` and `SubmitJob` request received, including those that
            were refused.
        is_ready: whether `wait_ready` sees a serving server.

    Raises:
        TypeError: names the table and what is allowed.
    """

    def __init__(
        self,
        tables: Mapping[str, Any],
        *,
        chunk_rows: int = 100,
        max_rows: int = TableDescription.max_rows,
        max_message_bytes: int = TableDescription.max_message_bytes,
    ) -> None:
        self.asked: list[Asked] = []
        self.is_ready = True
        self._tables = {name: _table(name, table) for name, table in tables.items()}
        self._chunk_rows = chunk_rows
        self._max_rows, self._max_message_bytes = max_rows, max_message_bytes
        self._lock = threading.Lock()
        self._now = 0.0
        self._refusals: list[tuple[StreamedError, int]] = []
        self._refuses_on: tuple[StreamedError, int] | None = None
        self._delays: list[float] = []
        self._delay = 0.0
        self._answered = 0
        self._jobs = FakeJobs(chunk_rows)

    # What a test asks for.

    def client(self, **options: Any) -> Client:
        """Return a client with simulated time and reproducible random numbers. Options are
        `Client`'s.
        """
        return Client(
            TARGET,
            channel=self.channel(),
            **{"clock": self.clock, "sleep": self.sleep, "rng": Random(0).random, **options},
        )

    def async_client(self, **options: Any) -> AsyncClient:
        """Return an asyncio client of the same kind. Options are `AsyncClient`'s."""
        return AsyncClient(
            TARGET,
            channel=self.async_channel(),
            **{"clock": self.clock, "sleep": self.sleep_async, "rng": Random(0).random, **options},
        )

    def channel(self) -> grpc.Channel:
        """Return a channel for code that makes its own client:
        ``Client(channel=server.channel())``.
        """
        return FakeChannel(self)

    def async_channel(self) -> grpc.aio.Channel:
        """Return a channel for `AsyncClient`."""
        return AsyncFakeChannel(self)

    def refuse(
        self, error: CascadeError | type[CascadeError], times: int | None = 1, *, after: int = 0
    ) -> None:
        """Answer the next requests with an error; the client retries as usual.

        Args:
            error: the error that the client finally raises, such as ``Overloaded("busy",
                retry_after=0.5)`` or `DeadlineExceeded`.
            times: number of requests; None: all, until `recover`.
            after: rows of a stream (or bytes of a job's file) that come before it breaks; 0: the
                request is refused at once.
        """
        refusal = as_rpc_error(error)
        with self._lock:
            if times is None:
                self._refuses_on = refusal, after
            else:
                self._refusals += [(refusal, after)] * times

    def slow(self, seconds: float, times: int | None = None) -> None:
        """Make the next answers take this long, in simulated time; None: all, until `recover`."""
        with self._lock:
            if times is None:
                self._delay = seconds
            else:
                self._delays += [seconds] * times

    def recover(self) -> None:
        """Undo `refuse` and `slow`."""
        with self._lock:
            self._refusals, self._refuses_on, self._delays, self._delay = [], None, [], 0.0

    def fail_job(self, reason: str) -> None:
        """Make the next submitted job fail, once it has begun."""
        self._jobs.fails.append(reason)

    def clock(self) -> float:
        """Return the simulated time in seconds, from 0."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance the simulated time."""
        with self._lock:
            self._now += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Advance the simulated time, for `AsyncClient`."""
        self.sleep(seconds)

    # What the channels ask for.

    def unary(self, path: str, body: bytes, timeout: float | None) -> tuple[bytes, float]:
        """Return the answer to a call, and the simulated time of its arrival.

        Raises:
            StreamedError: the call fails.
        """
        service, _, method = path.rpartition("/")
        if path == health.CHECK:
            return (b"\x08\x01" if self.is_ready else b"\x08\x02"), self._now
        if path == health.LIST:
            # One name, "", whose status is as above.
            return b"\x0a\x04\x12\x02\x08" + (b"\x01" if self.is_ready else b"\x02"), self._now
        if service == f"/{SYNTHESIS}" and method == "Synthesize":
            request = pb.SynthesizeRequest.FromString(body)
            response, there = self.synthesize(request, timeout)
            return response.SerializeToString(), there
        if path == f"/{JOBS}/SubmitJob":
            return self._submit(body)
        answer: Callable[[bytes], Any] | None = {
            f"/{SYNTHESIS}/ListTables": self._list_tables,
            f"/{SYNTHESIS}/DescribeTable": self._describe,
            f"/{SYNTHESIS}/GetStatistics": lambda _: pb.GetStatisticsResponse(),
            f"/{SYNTHESIS}/GetUsage": lambda _: pb.GetUsageResponse(),
            f"/{SYNTHESIS}/GetServiceLevel": lambda _: pb.GetServiceLevelResponse(service=TARGET),
            f"/{RELEASES}/ListReleases": self._list_releases,
            f"/{JOBS}/GetJob": self._jobs.get,
            f"/{JOBS}/ListJobs": self._jobs.list,
            f"/{JOBS}/CancelJob": self._jobs.cancel,
        }.get(path)
        if answer is None:
            raise StreamedError(
                grpc.StatusCode.UNIMPLEMENTED, f"a FakeServer does not know {method}"
            )
        return answer(body).SerializeToString(), self._now

    def synthesize(
        self, request: pb.SynthesizeRequest, timeout: float | None
    ) -> tuple[pb.SynthesizeResponse, float]:
        """Return the answer to a request of a call or of a session; as `unary`."""
        total = request.rows.count * (request.draws or 1)
        if total > self._max_rows or request.ByteSize() > self._max_message_bytes:
            raise StreamedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{total:,} rows in {request.ByteSize():,} bytes; {self._max_rows:,} rows in "
                f"{self._max_message_bytes:,} bytes are allowed",
            )
        limits = [seconds for seconds in (timeout, request.timeout_microseconds / 1e6) if seconds]
        table, described = self._find(request.table, request.version)
        asked = Asked(
            method="synthesize",
            table=request.table,
            rows=read_rows(request.rows, described),
            draws=request.draws or 1,
            columns=tuple(request.columns) or None,
            seed=request.seed if request.HasField("seed") else None,
            fidelity=FIDELITY_NAMES[request.fidelity],
            version=request.version or None,
            log_likelihood=request.log_likelihood,
            explain=request.explain,
            strict=request.strict,
            offline=request.offline,
            first_row=request.first_row,
            timeout=min(limits, default=None),
        )
        seed, there, refusal = self._take(asked)
        if refusal is not None:
            raise refusal[0]
        check(asked, described)
        response = pb.SynthesizeResponse(provenance=self._provenance(asked, table, seed))
        if request.explain:
            response.provenance.routing.reason = "a FakeServer answers what it is asked"
        pack(read(table.answer(asked, seed)), described.by_name, into=response.rows)
        if request.log_likelihood:
            response.log_likelihood.extend([table.log_likelihood] * len(asked.rows))
        return response, there

    def stream(self, path: str, body: bytes, timeout: float | None) -> Iterator[tuple[Any, float]]:
        """Yield the messages of a streaming call; as `unary`."""
        if path == f"/{SYNTHESIS}/Generate":
            yield from self.generate(body, timeout)
            return
        streams: Mapping[str, Callable[[bytes], Iterator[tuple[Any, int]]]] = {
            f"/{JOBS}/WatchJob": self._jobs.watch,
            f"/{JOBS}/ReadResult": self._jobs.read,
        }
        refusal = self._refusal()
        if refusal is not None and not refusal[1]:
            raise refusal[0]
        for message, came in streams[path](body):
            yield message, self._now
            if refusal is not None and came >= refusal[1]:
                raise refusal[0]

    def _submit(self, body: bytes) -> tuple[bytes, float]:
        asked = asked_of(body, lambda name, version: self._find(name, version)[1])
        table, described = self._find(asked.table, asked.version or 0)
        seed, there, refusal = self._take(asked)
        if refusal is not None:
            raise refusal[0]
        check(asked, described)
        return self._jobs.submit(body, asked, seed, table).SerializeToString(), there

    def generate(
        self, body: bytes, timeout: float | None
    ) -> Iterator[tuple[pb.GenerateResponse, float]]:
        """Yield the messages of a stream of generated rows; as `unary`."""
        request = pb.GenerateRequest.FromString(body)
        table, described = self._find(request.table, request.version)
        given = read_rows(request.given, described) if request.HasField("given") else ({},)
        asked = Asked(
            method="generate",
            table=request.table,
            rows=given,
            draws=request.count,
            columns=tuple(request.columns) or None,
            seed=request.seed if request.HasField("seed") else None,
            version=request.version or None,
            done=request.done,
            timeout=timeout,
        )
        seed, there, refusal = self._take(asked)
        if refusal is not None and not refusal[1]:
            raise refusal[0]
        check(asked, described)
        rows = table.answer(asked, seed)
        for start in range(request.done, request.count, self._chunk_rows):
            if refusal is not None and start - request.done >= refusal[1]:
                raise refusal[0]
            part = rows[start : start + self._chunk_rows]
            response = pb.GenerateResponse(done=start + len(part), total=request.count)
            response.provenance.CopyFrom(self._provenance(asked, table, seed))
            pack(read(part), described.by_name, into=response.rows)
            yield response, there

    def passes(self, there: float) -> None:
        """Advance the simulated time to at least this."""
        with self._lock:
            self._now = max(self._now, there)

    def _take(self, asked: Asked) -> tuple[int, float, tuple[StreamedError, int] | None]:
        """Record a request; return its seed, when its answer arrives, and its refusal, if any."""
        with self._lock:
            self.asked.append(asked)
            seed = self._answered if asked.seed is None else asked.seed
            self._answered += 1
            delay = self._delays.pop(0) if self._delays else self._delay
            refusal = self._refusal()
            if asked.timeout is not None and delay >= asked.timeout:
                late = StreamedError(grpc.StatusCode.DEADLINE_EXCEEDED, LATE)
                self._now += asked.timeout
                return seed, self._now, (late, 0)
            return seed, self._now + delay, refusal

    def _refusal(self) -> tuple[StreamedError, int] | None:
        return self._refusals.pop(0) if self._refusals else self._refuses_on

    def _find(self, name: str, version: int) -> tuple[FakeTable, TableDescription]:
        table = self._tables.get(name)
        if table is None:
            known = ", ".join(self._tables)
            raise StreamedError(
                grpc.StatusCode.NOT_FOUND, f"unknown table {name!r}; the tables are: {known}"
            )
        if version and version not in table.versions:
            known = ", ".join(map(str, table.versions))
            raise StreamedError(
                grpc.StatusCode.NOT_FOUND, f"no version {version} of {name!r}: {known}"
            )
        return table, table.description(name)

    def _provenance(self, asked: Asked, table: FakeTable, seed: int) -> pb.Provenance:
        by_teacher = asked.method == "generate" or asked.fidelity == "full" or asked.log_likelihood
        return pb.Provenance(
            synthetic=True,
            table=asked.table,
            version=asked.version or max(table.versions),
            tier=pb.TIER_TEACHER if by_teacher else pb.TIER_STUDENT,
            steps=len(table.columns) if by_teacher else 1,
            seed=seed,
        )

    def _list_tables(self, body: bytes) -> pb.ListTablesResponse:
        return pb.ListTablesResponse(
            tables=[
                pb.TableSummary(table=name, versions=table.versions, columns=len(table.columns))
                for name, table in self._tables.items()
            ]
        )

    def _describe(self, body: bytes) -> pb.DescribeTableResponse:
        request = pb.DescribeTableRequest.FromString(body)
        table, described = self._find(request.table, request.version)
        return pb.DescribeTableResponse(
            table=request.table,
            max_rows=self._max_rows,
            max_message_bytes=self._max_message_bytes,
            columns=[
                pb.ColumnDescription(
                    name=column.name,
                    kind=column.kind,
                    nullable=column.nullable,
                    dtype=column.dtype,
                    minimum=column.minimum,
                    maximum=column.maximum,
                    categories=column.categories,
                    other=column.other or "",
                )
                for column in described.columns
            ],
            releases=[
                pb.ReleaseDescription(version=version)
                for version in table.versions
                if request.version in (0, version)
            ],
        )

    def _list_releases(self, body: bytes) -> pb.ReleasesResponse:
        return pb.ReleasesResponse(
            releases=[
                pb.ReleaseStatus(
                    table=name,
                    version=version,
                    state=pb.RELEASE_STATE_LOADED,
                    share=float(version == max(table.versions)),
                )
                for name, table in self._tables.items()
                for version in sorted(table.versions)
            ],
            generation=1,
        )


def _table(name: str, table: Any) -> FakeTable:
    try:
        if isinstance(table, FakeTable):
            return table
        if isinstance(table, TableDescription):
            return FakeTable(columns=table.columns, versions=(table.version,))
        return FakeTable(table)
    except TypeError as exc:
        raise TypeError(f"table {name!r}: {exc}") from exc
