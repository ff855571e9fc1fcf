"""The blocking client: a thin shell of I/O around `wire` and `retry`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import grpc
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

from cascade_client import health, wire
from cascade_client.answers import Chunk, Synthesis, TableDescription, TableSummary
from cascade_client.base import (
    DEFAULT_TARGET,
    POLL_INTERVAL,
    BaseClient,
    GenerateOptions,
    SynthesizeOptions,
    channel_options,
)
from cascade_client.cells import Nulls, read
from cascade_client.releases import Releases
from cascade_client.retry import Retry
from cascade_client.service_level import ServiceLevel
from cascade_client.session import StandingStream

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = dict[str, Any]


class Client(BaseClient):
    """A connection to a Cascade server; share one among threads, and close it.

    >>> with Client() as client:
    ...     answer = client.synthesize("credit", {"limit_bal": 20000, "age": 25})
    ...     answer.data["education"], str(answer.provenance)

    Args:
        target: host and port of the server.
        timeout: seconds that a real-time call may take where it names no timeout of its own;
            retries included, > 0.
        retry: how often and how patiently to try again; `Retry(attempts=1)` never does.
        credentials: `grpc.ssl_channel_credentials(...)` for TLS; None: in the clear.
        wait_for_turn: whether calls beyond those that the server lets a connection have at once
            wait in this process, until their deadline if need be. False: they raise `Overloaded`
            at once, for callers who have something to fall back on.
        channel: a channel of your own (interceptors, compression); `target` is then only a name
            in messages, `credentials` and `wait_for_turn` are unused, and closing the client
            closes the channel.
        clock, sleep, rng: monotonic seconds, waiting, and uniform numbers in [0, 1) for the
            jitter; here so that tests need not wait.

    A table's schema is asked for once, with the first call that names the table, and again when
    an answer comes from another release. Call `describe` at start-up to keep that first round
    trip out of the first real-time call.

    Raises:
        CascadeError: every method, by the tree in `cascade_client.errors`.
        RuntimeError: every method, after `close`.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = 1.0,
        retry: Retry | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        wait_for_turn: bool = True,
        channel: grpc.Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(target, timeout, retry, clock, rng)
        self._sleep = sleep
        if channel is not None:
            self._channel = channel
        elif credentials is not None:
            self._channel = grpc.secure_channel(target, credentials, channel_options(wait_for_turn))
        else:
            self._channel = grpc.insecure_channel(target, channel_options(wait_for_turn))
        self._stub = SynthesisStub(self._channel)
        self._synthesize: Callable[..., Any] = self._stub.Synthesize
        self._close: Callable[[], None] = self._channel.close
        self._health = self._channel.unary_unary(health.CHECK)

    # One draw of one dict is a dict; mypy sees that 1 is also an int.
    @overload
    def synthesize(  # type: ignore[overload-overlap]
        self,
        table: str,
        data: Mapping[str, Any],
        *,
        draws: Literal[1] = 1,
        **options: Unpack[SynthesizeOptions],
    ) -> Synthesis[Row]: ...
    @overload
    def synthesize(
        self,
        table: str,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        draws: int = 1,
        **options: Unpack[SynthesizeOptions],
    ) -> Synthesis[list[Row]]: ...
    @overload
    def synthesize(
        self,
        table: str,
        data: pd.DataFrame,
        *,
        draws: int = 1,
        **options: Unpack[SynthesizeOptions],
    ) -> Synthesis[pd.DataFrame]: ...
    @overload
    def synthesize(
        self, table: str, data: pa.Table, *, draws: int = 1, **options: Unpack[SynthesizeOptions]
    ) -> Synthesis[pa.Table]: ...
    def synthesize(
        self,
        table: str,
        data: Any,
        *,
        draws: int = 1,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        fidelity: wire.Fidelity = "auto",
        log_likelihood: bool = False,
        explain: bool = False,
        version: int | None = None,
        nulls: Nulls = "missing",
        timeout: float | None = None,
    ) -> Synthesis[Any]:
        """Complete rows: draw what is missing of each from p(missing | observed).

        Args:
            table: the table's name.
            data: a dict, a list of dicts, a pandas DataFrame or a pyarrow Table; the answer's
                `data` is of the same kind (one dict with several draws gives a list). In dicts a
                key left out, or `MISSING`, is absent (to be synthesised) and None is observed to
                be NULL. In DataFrames and Tables a column left out is absent, and `nulls` says
                what empty cells are. Date-times without a zone are UTC.
            draws: answers a row, >= 1.
            columns: columns to return; None: all of the schema's.
            seed: equal seeds and requests give equal rows from the same tier (with "auto" that
                is the deadline's affair); None: the server draws one and tells it in the
                provenance.
            fidelity: "fast" is the student, "full" the teacher, "auto" the better of those that
                fit the deadline.
            log_likelihood: also ask for ln p(observed columns) of each row, from the teacher.
            explain: also ask, in the provenance, why this tier answered.
            version: the release; None: the latest.
            nulls: whether a NaN, NA or null cell of a DataFrame or Table is absent ("missing")
                or observed to be NULL ("null").
            timeout: seconds for the call, retries included; None: the client's.

        Raises:
            InvalidRequest: names the column, the value and what is allowed.
            NotFound: no such table or version.
            DeadlineExceeded, Overloaded, Unavailable: not now; retries are already spent.
        """
        expiry = self._expiry(timeout)
        given = read(data, nulls)
        schema = self._schema(table, version, expiry)
        request = wire.synthesize_request(
            schema,
            given,
            draws=draws,
            columns=columns,
            seed=seed,
            fidelity=fidelity,
            log_likelihood=log_likelihood,
            explain=explain,
            version=version,
            timeout=self._left(expiry),
        )
        response = self._call(self._synthesize, request, expiry)
        schema = self._schema_of(response.provenance, schema, version, expiry)
        return wire.synthesis(response, schema, given, draws)

    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["pandas"] = "pandas",
        progress: Callable[[int, int], object] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[pd.DataFrame]: ...
    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["rows"],
        progress: Callable[[int, int], object] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[list[Row]]: ...
    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["arrow"],
        progress: Callable[[int, int], object] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[pa.Table]: ...
    def generate(
        self,
        table: str,
        n: int,
        *,
        given: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        version: int | None = None,
        kind: wire.Kind = "pandas",
        timeout: float | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Synthesis[Any]:
        """Make n rows with the teacher and collect them.

        Args:
            table: the table's name.
            n: rows, >= 1.
            given: columns whose values every row shares, as a dict; None in it is NULL.
            columns: columns to return; None: all of the schema's.
            seed: equal seeds and requests give equal rows; None: the server draws one.
            version: the release; None: the latest.
            kind: "pandas", "rows" (a list of dicts) or "arrow".
            timeout: seconds for the whole of it; None: as long as it takes.
            progress: called as ``progress(done, total)`` whenever rows arrive.

        Raises:
            InvalidRequest, NotFound: as `synthesize`.
            MissingDependency: `kind` needs a package that is not installed.
        """
        collection = wire.Collection(wire.form_of(kind), progress)
        expiry = self._open_expiry(timeout)
        for response, schema in self._generated(table, n, expiry, given, columns, seed, version):
            collection.add(response, schema)
        return collection.synthesis()

    @overload
    def stream(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["pandas"] = "pandas",
        **options: Unpack[GenerateOptions],
    ) -> Iterator[Chunk[pd.DataFrame]]: ...
    @overload
    def stream(
        self, table: str, n: int, *, kind: Literal["rows"], **options: Unpack[GenerateOptions]
    ) -> Iterator[Chunk[list[Row]]]: ...
    @overload
    def stream(
        self, table: str, n: int, *, kind: Literal["arrow"], **options: Unpack[GenerateOptions]
    ) -> Iterator[Chunk[pa.Table]]: ...
    def stream(
        self,
        table: str,
        n: int,
        *,
        given: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        version: int | None = None,
        kind: wire.Kind = "pandas",
        timeout: float | None = None,
    ) -> Iterator[Chunk[Any]]:
        """Make n rows with the teacher and yield them as they arrive, in chunks.

        Arguments and errors are `generate`'s. Nothing is asked of the server before the first
        chunk is; leaving the loop early cancels the rest.
        """
        form = wire.form_of(kind)
        expiry = self._open_expiry(timeout)
        for response, schema in self._generated(table, n, expiry, given, columns, seed, version):
            yield wire.chunk(response, schema, form)

    def tables(self, *, timeout: float | None = None) -> tuple[TableSummary, ...]:
        """The tables that the server has releases of."""
        expiry = self._expiry(timeout)
        return wire.tables(self._call(self._stub.ListTables, pb.ListTablesRequest(), expiry))

    def service_level(self, *, timeout: float | None = None) -> ServiceLevel:
        """What the server promises, and how it keeps it; print it to read it."""
        expiry, request = self._expiry(timeout), pb.GetServiceLevelRequest()
        return wire.service_level(self._call(self._stub.GetServiceLevel, request, expiry))

    def describe(
        self, table: str, *, version: int | None = None, timeout: float | None = None
    ) -> TableDescription:
        """Schema, releases and fidelity figures of a table; print it to read it.

        Raises:
            NotFound: no such table or version.
        """
        return self._describe(table, version, self._expiry(timeout))

    @property
    def releases(self) -> Releases:
        """What the server has loaded, and how to change that and which version answers."""
        return Releases(self)

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return once the server says that it is serving.

        Raises:
            Unavailable: it did not within `timeout` seconds; the message says what it did say.
        """
        expiry, said = self._expiry(timeout), "no answer"
        while True:
            patience = self._poll_or_raise(expiry, timeout, said)
            try:
                said = health.status(self._health(health.WHOLE_SERVER, timeout=patience))
            except grpc.RpcError as exc:
                said = self._why_not_ready(exc)
            if said == "SERVING":
                return
            self._sleep(POLL_INTERVAL)

    def session(self) -> Self:
        """A client whose `synthesize` goes over one standing stream; all else is this client's.

        For a service that asks all the time: a request of a stream costs both sides less than a
        call does, and those that come together are sent, drawn and answered together. The stream is
        opened when it is first needed, and again if it breaks; timeouts, retries and errors are
        those of calls. More requests of a stream are let in at once than calls of a connection; all
        of them are with one of the server's workers. Closing it leaves this client open.

        >>> with client.session() as session:
        ...     session.synthesize("credit", {"limit_bal": 20000, "age": 25})
        """
        self._check_open()
        stream = StandingStream(self._stub.SynthesizeStream, self._clock)
        session = copy(self)
        session._synthesize, session._close = stream, stream.close
        return session

    def close(self) -> None:
        """Drop the connection; calls under way are cancelled. Closing twice does no harm."""
        self._closed = True
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        attempt = 0
        while True:
            attempt += 1
            try:
                return method(request, timeout=self._left(expiry))
            except grpc.RpcError as exc:
                delay = self._wait_or_raise(exc, attempt, expiry)
            self._sleep(delay)

    def _generated(
        self,
        table: str,
        n: int,
        expiry: float,
        given: Mapping[str, Any] | None,
        columns: Sequence[str] | None,
        seed: int | None,
        version: int | None,
    ) -> Iterator[tuple[pb.GenerateResponse, TableDescription]]:
        schema = self._schema(table, version, expiry)
        request = wire.generate_request(
            schema, n, given=given, columns=columns, seed=seed, version=version
        )
        attempt, started = 0, False
        while True:
            attempt += 1
            call = self._stub.Generate(request, timeout=self._left(expiry))
            try:
                for response in call:
                    if not started:
                        schema = self._schema_of(response.provenance, schema, version, expiry)
                        started = True
                    yield response, schema
                return
            except grpc.RpcError as exc:
                if started:  # another attempt would give the same rows twice
                    raise self._error(exc) from exc
                delay = self._wait_or_raise(exc, attempt, expiry)
            finally:
                call.cancel()
            self._sleep(delay)

    def _describe(self, table: str, version: int | None, expiry: float) -> TableDescription:
        request = wire.describe_request(table, version)
        response = self._call(self._stub.DescribeTable, request, expiry)
        return self._remember(wire.description(response, version), version)

    def _schema(self, table: str, version: int | None, expiry: float) -> TableDescription:
        return self._recall(table, version) or self._describe(table, version, expiry)

    def _schema_of(
        self, made: pb.Provenance, schema: TableDescription, version: int | None, expiry: float
    ) -> TableDescription:
        """The schema of the release that answered, which may be newer than the one known."""
        if made.version in (0, schema.version):
            return schema
        return self._remember(self._schema(made.table, made.version, expiry), version)
