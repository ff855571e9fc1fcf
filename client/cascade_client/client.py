"""`Client`, the blocking client: its `synthesize`, `generate` and `session`.

Its base classes have the other methods: jobs, whole frames, and queries about the server.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import grpc

from cascade_client.calls.base import (
    DEFAULT_TARGET,
    STREAM_LIMITS,
    GenerateOptions,
    SynthesizeKeywords,
    SynthesizeOptions,
)
from cascade_client.calls.showing import Showing
from cascade_client.calls.tls import Tls
from cascade_client.errors import InvalidRequest
from cascade_client.job_methods import JobMethods
from cascade_client.messages import wire
from cascade_client.messages.cells import Nulls
from cascade_client.messages.frames import Frame
from cascade_client.messages.given import hold, read
from cascade_client.messages.parts import PART_ROWS, Parts, fits
from cascade_client.progress import Progress, checked_progress
from cascade_client.retry import Retry
from cascade_client.sessions.threads import StandingStream
from cascade_client.turns.threads import ThreadTurns
from cascade_client.values.answers import Chunk, Synthesis

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = dict[str, Any]


class Client(JobMethods):
    """A connection to a Cascade server; share one among threads, and close it.

    >>> with Client() as client:
    ...     answer = client.synthesize("credit", {"limit_bal": 20000, "age": 25})
    ...     answer.data["education"], str(answer.provenance)

    Args:
        target: host and port of the server. The default port is 8470, or 443 with `credentials`, as
            in gRPC.
        tls: TLS settings; True: trust the public authorities; False: no TLS, unless `credentials`
            use it.
        timeout: seconds that a real-time call without its own timeout may take, including retries;
            > 0.
        retry: how often and how patiently to retry; `Retry(attempts=1)` never does. While the
            server refuses more than a third of the calls, refused calls are not retried.
        credentials: gRPC credentials, such as `grpc.composite_channel_credentials(...)`, instead of
            `tls`.
        wait_for_turn: whether calls beyond the server's limit of concurrent calls per connection
            wait in this process. Calls with the earliest deadlines are sent first. A call whose
            answer is predicted to be late raises `Overloaded` without being sent, and so do some
            calls while the server refuses more than a third. False: excess calls do not wait but
            raise `Overloaded` at once, for callers that have a fallback.
        channel: your own channel (interceptors, compression; `FakeServer.channel`); `target` is
            then only a name in messages, `tls` and `credentials` are unused, and closing the client
            closes the channel. With ``wait_for_turn=False`` the channel itself must reject excess
            calls ("grpc.http.max_concurrent_streams_reject_on_client").
        api_key: sent with every call to authenticate; None: the value of the environment variable
            CASCADE_API_KEY, if it is set and there is no token. Without `credentials` or TLS,
            anyone on the network path can read it.
        token: sent likewise: a token of an OpenID Connect issuer, or a function that returns a
            fresh one. The function is called before the first call, shortly before the last token
            expires, and when the server refuses the token. `AsyncClient` calls it in the event
            loop.
        clock, sleep, rng: monotonic seconds, waiting, and uniform numbers in [0, 1), used for the
            jitter and for choosing the calls to send to a server that refuses many; parameters so
            that tests need not wait.

    The client fetches a table's schema with the first call that names the table, and again when an
    answer comes from another release. Call `describe` at start-up to keep that first round trip out
    of the first real-time call.

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
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        wait_for_turn: bool = True,
        channel: grpc.Channel | None = None,
        api_key: str | None = None,
        token: str | Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            target,
            timeout,
            retry,
            tls,
            credentials,
            wait_for_turn,
            channel,
            clock,
            sleep,
            rng,
            Showing(api_key, token),
        )

    # One draw of one dict is a dict. mypy objects because 1 is also an int.
    @overload
    def synthesize(  # type: ignore[overload-overlap]
        self,
        table: str,
        data: Mapping[str, Any],
        *,
        draws: Literal[1] = 1,
        **options: Unpack[SynthesizeKeywords],
    ) -> Synthesis[Row]: ...
    @overload
    def synthesize(
        self,
        table: str,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        draws: int = 1,
        **options: Unpack[SynthesizeKeywords],
    ) -> Synthesis[list[Row]]: ...
    @overload
    def synthesize(
        self,
        table: str,
        data: pd.DataFrame,
        *,
        draws: int = 1,
        **options: Unpack[SynthesizeKeywords],
    ) -> Synthesis[pd.DataFrame]: ...
    @overload
    def synthesize(
        self, table: str, data: Frame, *, draws: int = 1, **options: Unpack[SynthesizeKeywords]
    ) -> Synthesis[Frame]: ...
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
        strict: bool = False,
        version: int | None = None,
        nulls: Nulls = "observed",
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Synthesis[Any]:
        """Complete rows: draw the missing values of each from p(missing | observed).

        Args:
            table: the table's name.
            data: a dict, a list of dicts, a DataFrame of pandas or polars, a pyarrow Table or
                RecordBatch, or any object that provides a stream of Arrow's C interface. The
                answer's `data` is of the same kind (one dict with several draws gives a list), with
                the same dtypes and index. A missing column, or a missing key in a dict, is
                synthesised; so is `MISSING`. `nulls` says what empty cells mean. Date-times without
                a zone are UTC. Data too large for one request are sent in parts, some at a time,
                and come back whole.
            draws: answers per row, >= 1.
            columns: columns to return; None: all of the schema's.
            seed: equal seeds and requests give equal rows from the same tier (with "auto" the
                deadline decides the tier); None: the server draws a seed and returns it in the
                provenance. A request with another number of draws is a different request: its first
                draw may differ.
            fidelity: "fast" is the student, "full" the teacher, "auto" the better of those that fit
                the deadline.
            log_likelihood: also return ln p(observed columns) of each row, from the teacher.
            explain: also say, in the provenance, why this tier answered.
            strict: refuse values that were never learnt (numbers beyond the bounds, categories of a
                column without a label for others); the error names all of them. Otherwise such
                values are returned unchanged and named in the provenance, and the rest of the row
                is drawn as if they were the nearest learnt value, or unknown.
            version: the release; None: the latest.
            nulls: what an empty cell (None, NaN, NaT, NA or a null of Arrow) means. In a column
                without NULLs in training it is always missing, and synthesised. In other columns it
                is an observed NULL ("observed"), or missing there too ("fill").
            timeout: seconds for the call, including retries and all parts; None: the client's
                timeout, plus a millisecond per row and draw for several rows; no limit for data
                sent in parts.
            progress: called as ``progress(done, total)`` whenever rows arrive; True: a bar on a
                terminal's standard error, or in a notebook.

        Raises:
            InvalidRequest: names the column, the value and what is allowed.
            NotFound: no such table or version.
            DeadlineExceeded, Overloaded, Unavailable: not now; retries are already spent. If one of
                several parts fails, the error names its rows, and no rows are returned.
        """
        expiry = self._expiry(timeout)
        kind = "full" if log_likelihood else fidelity
        turns = self._synthesize_turns
        draws, report = wire.checked_draws(draws), checked_progress(progress, table)
        held = hold(data)
        is_one_row = held is None or held.count == 1
        # Several rows may go in parts, which use another method and may have another deadline.
        if is_one_row:
            turns.check(expiry, kind)
        elif held is not None:
            expiry = self._expiry_of_rows(expiry, timeout, held.count * draws)
        # Refuse an unreadable frame before anything is sent.
        given = read(held or data) if held is None or held.count <= PART_ROWS else None
        schema = self._schema(table, version, expiry)
        options: SynthesizeOptions = {
            "columns": columns,
            "seed": seed,
            "fidelity": fidelity,
            "log_likelihood": log_likelihood,
            "explain": explain,
            "strict": strict,
            "version": version,
            "nulls": nulls,
        }
        if held is None or fits(held.count, draws, schema):
            given = read(held or data) if given is None else given

            def request() -> Any:
                left = self._left(expiry)
                return wire.synthesize_request(schema, given, draws=draws, timeout=left, **options)

            # Pack a row only when its turn has come: under overload, most rows never get a turn.
            asked: Any = request if held is None else request()
            if is_one_row or asked.ByteSize() <= schema.max_message_bytes:
                if not is_one_row:
                    turns.check(expiry, kind)
                try:
                    response = self._send(turns, self._synthesize, asked, expiry, kind)
                except InvalidRequest as exc:
                    if held is not None:
                        held.explained(exc, 0, held.count)
                    raise
                schema = self._schema_of(response.provenance, schema, version, expiry)
                if report is not None:
                    report(given.count, given.count)
                return wire.synthesis(response, schema, given, draws)
        assert held is not None
        parts = Parts(held, schema, draws, report, options)
        return self._in_parts(parts, math.inf if timeout is None else expiry, fidelity)

    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["pandas"] = "pandas",
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[pd.DataFrame]: ...
    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["rows"],
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[list[Row]]: ...
    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["arrow"],
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[pa.Table]: ...
    @overload
    def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["polars"],
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[Any]: ...
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
        progress: Progress | bool | None = None,
    ) -> Synthesis[Any]:
        """Make n rows with the teacher and collect them.

        If the stream breaks, or the server asks to come back later, the client resumes it after the
        received rows, with the same seed and release. `retry` limits the attempts in a row without
        a message.

        Args:
            table: the table's name.
            n: rows, >= 1.
            given: values that every row shares, as a dict by column; None is NULL. Values that were
                never learnt are refused.
            columns: columns to return; None: all of the schema's.
            seed: equal seeds and requests give equal rows; None: the server draws one.
            version: the release; None: the latest.
            kind: "pandas", "rows" (a list of dicts), "arrow" or "polars".
            timeout: seconds for the whole call; None: no limit.
            progress: called as ``progress(done, total)`` whenever rows arrive; True: a bar on a
                terminal's standard error, or in a notebook.

        Raises:
            InvalidRequest, NotFound: as `synthesize`.
            DeadlineExceeded, Overloaded, Unavailable: not now; a note (``__notes__``) says how many
                rows had come, with which seed.
            MissingDependency: `kind` needs a package that is not installed.
        """
        collection = wire.Collection(wire.form_of(kind), checked_progress(progress, table))
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
    @overload
    def stream(
        self, table: str, n: int, *, kind: Literal["polars"], **options: Unpack[GenerateOptions]
    ) -> Iterator[Chunk[Any]]: ...
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

        Arguments and errors are those of `generate`. The request is sent when the first chunk is
        needed; leaving the loop early cancels the rest.
        """
        form = wire.form_of(kind)
        expiry = self._open_expiry(timeout)
        for response, schema in self._generated(table, n, expiry, given, columns, seed, version):
            yield wire.chunk(response, schema, form)

    def session(self) -> Self:
        """Return a client whose `synthesize` uses one standing stream; everything else is shared.

        Use it in a service that calls constantly: a request on a stream costs both sides less than
        a call, and concurrent requests are sent, drawn and answered together. The stream is opened
        when it is first needed, and again if it breaks; timeouts, retries and errors are those of
        calls. A stream may have more concurrent requests than a connection has calls, but one of
        the server's workers handles all of them. Closing the session leaves this client open.

        >>> with client.session() as session:
        ...     session.synthesize("credit", {"limit_bal": 20000, "age": 25})
        """
        self._check_open()
        stream = StandingStream(self._stub.SynthesizeStream, self._clock)
        session = copy(self)
        session._synthesize, session._close = stream, stream.close
        limits = STREAM_LIMITS if self._turns.waits else None
        session._synthesize_turns = ThreadTurns(limits, self._clock, self._sleep, self._rng)
        return session
