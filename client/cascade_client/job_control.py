"""How offline jobs are asked for, watched and fetched."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from cascade_proto import jobs_pb2 as pb
from cascade_proto import synthesis_pb2
from cascade_proto.jobs_pb2_grpc import JobsStub

from cascade_client.errors import CascadeError, Failure, InvalidRequest, ServerError, Unavailable
from cascade_client.messages.given import read
from cascade_client.messages.rows import pack
from cascade_client.values.jobs import Job, JobState, ResultFile, job_of

if TYPE_CHECKING:
    from cascade_client.client import Client

TIERS: Mapping[str, synthesis_pb2.Tier.ValueType] = {
    "teacher": synthesis_pb2.TIER_TEACHER,
    "student": synthesis_pb2.TIER_STUDENT,
}
# Seconds for an answer, and between attempts to go on with a stream that broke.
TIMEOUT, RECONNECT = 30.0, 0.5
# Attempts in a row in which nothing came.
ATTEMPTS = 120
PARTIAL = ".partial"
BLOCK = 1024 * 1024


class Jobs:
    """What may be asked of a server about offline jobs.

    >>> with Client() as client:
    ...     jobs = Jobs(client)
    ...     job = jobs.submit("credit", 100_000, seed=1)
    ...     job = jobs.wait(job.id)
    ...     jobs.fetch(job.id, Path("rows"))

    Args:
        client: of the server.

    Raises:
        NotFound: there is no such table, job or file.
        InvalidRequest: it cannot be, and why; a job that has ended is to be cancelled.
        PermissionDenied: results may not go there for who asks over the network.
        Overloaded: as many jobs, or as much of the disk, as there may be.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stub = JobsStub(client._channel)

    def submit(
        self,
        table: str,
        rows: int = 0,
        *,
        tier: str = "teacher",
        version: int | None = None,
        seed: int | None = None,
        columns: Sequence[str] | None = None,
        given: Mapping[str, Any] | None = None,
        balance: str | None = None,
        shares: Mapping[Any, float] | None = None,
        conditions: Any = None,
        draws: int = 1,
        output: str = "",
        token: str | None = None,
        fresh: bool = False,
        timeout: float = TIMEOUT,
    ) -> Job:
        """Ask for rows. Returns at once; `wait` and `watch` say when they are there.

        Args:
            table: of a release of the server.
            rows: to make; not with `conditions`.
            tier: "teacher" or "student".
            version: of the release; None: the one that answers who names none.
            seed: the same one gives the same files; None: the server draws one, and tells it.
            columns: to write; None: all.
            given: values that all rows share.
            balance: a column whose values are to come as often as `shares` says.
            shares: by value, in any unit; None: all of the column's, alike, where it is a category
                or a number with 20 values at most.
            conditions: rows to complete, each `draws` times: as for `Client.synthesize`.
            draws: rows for each of these.
            output: a folder of the server's or a URL; "": the server's own folder for results.
            token: of your choosing: however often a call with it is made, there is one job. None:
                one of this very call, so that it may be tried again.
            fresh: whether to make the rows though there is a job of the same specification.
            timeout: seconds.
        """
        client = self._client
        if tier not in TIERS:
            raise InvalidRequest(f"tier is {tier!r}; 'teacher' or 'student' is allowed")
        expiry = client._expiry(timeout)
        schema = client._schema(table, version, expiry)
        request = pb.SubmitJobRequest(
            table=table,
            version=version or 0,
            tier=TIERS[tier],
            rows=rows,
            columns=list(columns or ()),
            draws=draws,
            output=output,
            token=secrets.token_hex(16) if token is None else token,
            fresh=fresh,
        )
        if seed is not None:
            request.seed = seed
        if given:
            pack(read(given), schema.by_name, request.given, "observed")
        if balance is not None:
            request.balance.column = balance
            if shares is not None:
                values = [{balance: value} for value in shares]
                pack(read(values), schema.by_name, request.balance.values)
                request.balance.weights.extend(shares.values())
        if conditions is not None:
            pack(read(conditions), schema.by_name, request.conditions, "observed")
        return job_of(client._call(self._stub.SubmitJob, request, expiry))

    def get(self, job: str, *, files: bool = False, timeout: float = TIMEOUT) -> Job:
        """How a job is now.

        Args:
            job: its id.
            files: whether to be told which of its files are whole.
            timeout: seconds.
        """
        request = pb.GetJobRequest(id=job, with_files=files)
        return self._ask(self._stub.GetJob, request, timeout)

    def list(self, limit: int = 100, *, timeout: float = TIMEOUT) -> tuple[Job, ...]:
        """The newest jobs, newest first."""
        client = self._client
        request = pb.ListJobsRequest(limit=limit)
        response = client._call(self._stub.ListJobs, request, client._expiry(timeout))
        return tuple(map(job_of, response.jobs))

    def cancel(self, job: str, *, timeout: float = TIMEOUT) -> Job:
        """End a job that has not ended; what it has made so far is removed."""
        return self._ask(self._stub.CancelJob, pb.CancelJobRequest(id=job), timeout)

    def watch(self, job: str) -> Iterator[Job]:
        """A job whenever it has gone on, until it has ended; also over a restart of the server."""
        for message in self._resumed(lambda: self._stub.WatchJob(pb.WatchJobRequest(id=job))):
            found = job_of(message)
            yield found
            if found.state.is_final:
                return

    def wait(self, job: str, progress: Callable[[int, int], object] | None = None) -> Job:
        """The job once it has ended.

        Args:
            job: its id.
            progress: is told of rows done and rows in all.
        """
        found = None
        for found in self.watch(job):
            if progress is not None:
                progress(found.rows_done, found.rows)
        assert found is not None
        return found

    def fetch(
        self,
        job: str,
        folder: Path,
        progress: Callable[[int, int], object] | None = None,
    ) -> Sequence[Path]:
        """Download the results of a job that is done; files that are there already are kept, and
        one that was begun is gone on with.

        Args:
            job: its id.
            folder: where to; it is made where there is none.
            progress: is told of bytes done and bytes in all.

        Returns:
            The files, in their order.

        Raises:
            InvalidRequest: the job is not done.
            ServerError: what came is not what was made.
        """
        found = self.get(job, files=True)
        if found.state is not JobState.DONE:
            why = f": {found.reason}" if found.reason else ""
            raise InvalidRequest(f"job {job} is {found.state}{why}; results of DONE jobs are whole")
        folder.mkdir(parents=True, exist_ok=True)
        total, before, paths = sum(each.bytes for each in found.result_files), 0, []
        for each in found.result_files:
            paths.append(
                self._fetched(
                    job,
                    each,
                    folder,
                    lambda done, before=before: (  # type: ignore[misc]
                        None if progress is None else progress(before + done, total)
                    ),
                )
            )
            before += each.bytes
        return paths

    def _fetched(
        self, job: str, file: ResultFile, folder: Path, progress: Callable[[int], object]
    ) -> Path:
        path, partial = folder / file.name, folder / (file.name + PARTIAL)
        if path.exists():
            if _checksum(path) == file.sha256:
                progress(file.bytes)
                return path
            raise InvalidRequest(
                f"{path} is there, and is not the file of job {job}; name another folder"
            )
        done = partial.stat().st_size if partial.exists() else 0
        if done > file.bytes:
            partial.unlink()
            done = 0
        with partial.open("ab") as out:

            def read_on() -> Any:
                request = pb.ReadResultRequest(id=job, name=file.name, offset=out.tell())
                return self._stub.ReadResult(request)

            while out.tell() < file.bytes:
                for message in self._resumed(read_on):
                    out.write(message.data)
                    progress(out.tell())
                    if out.tell() >= file.bytes:
                        break
        if (came := _checksum(partial)) != file.sha256:
            partial.unlink()
            raise ServerError(
                f"{file.name} of job {job} came with SHA-256 {came}, and was made with "
                f"{file.sha256}; what came is dropped"
            )
        partial.rename(path)
        return path

    def _ask(self, method: Any, request: Any, timeout: float) -> Job:
        return job_of(self._client._call(method, request, self._client._expiry(timeout)))

    def _resumed(self, begin: Callable[[], Any]) -> Iterator[Any]:
        """The messages of a stream that is begun again where it breaks."""
        attempts = 0
        while True:
            call = begin()
            try:
                for message in call:
                    attempts = 0
                    yield message
                return
            except grpc.RpcError as exc:
                error = Failure.of(exc).error(self._client.target)
                attempts += 1
                if not isinstance(error, Unavailable) or attempts >= ATTEMPTS:
                    raise error from exc
            finally:
                call.cancel()
            self._client._sleep(RECONNECT)


def explained(error: CascadeError) -> CascadeError:
    """The error of a server that has no jobs, in words for who does not know why."""
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerError(f"the server is older than offline jobs: {error}", code=error.code)
    return error


def _checksum(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()
