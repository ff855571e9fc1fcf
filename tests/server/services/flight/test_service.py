"""What Flight's clients are answered: by a stub of the protocol, over both transports."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_jobs.job import Job
from cascade_proto import flight_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.jobs.desk import Desk, folder_of
from cascade_server.services.flight import files
from cascade_server.services.flight import service as service_module
from cascade_server.services.flight.files import ResultFile, schema_message
from cascade_server.services.flight.places import Places
from cascade_server.services.flight.results import Results
from cascade_server.services.flight.watching import STOPPING

from tests.jobs.made_up import SHARD_ROWS, Jobs, made_up
from tests.server.services.flight.flights import Flights, by_path, flights, table_of

Code = grpc.StatusCode


def rows(first: int = 0, count: int = 2500) -> list[dict[str, Any]]:
    return made_up(7, first, count).to_arrow().to_pylist()


def part(job: Job, number: int) -> Path:
    return Path(job.output) / f"data/part-{number:05}.parquet"


class TestAFinishedJob:
    """A job is a flight, a file of it an endpoint."""

    async def test_all_of_it_can_be_read(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        flown.jobs.finish()
        info = await flown.stub.GetFlightInfo(by_path(job.id))
        assert (info.total_records, info.total_bytes, info.ordered) == (2500, -1, True)
        assert info.flight_descriptor == by_path(job.id)
        schema = pa.ipc.read_schema(pa.py_buffer(info.schema))
        assert schema.names == ["number", "label"]
        kept = json.loads(info.app_metadata)
        assert (kept["synthetic"], kept["table"], kept["seed"]) == (True, "payments", 7)
        tables = [await flown.read(each.ticket.ticket) for each in info.endpoint]
        assert [table.num_rows for table in tables] == [SHARD_ROWS, SHARD_ROWS, 500]
        assert [json.loads(each.app_metadata)["first_row"] for each in info.endpoint] == [
            *(0, 1000, 2000)
        ]
        assert all(table.schema.equals(schema, check_metadata=True) for table in tables)
        assert pa.concat_tables(tables).to_pylist() == rows()
        assert (await flown.read(job.id)).equals(pq.read_table(job.output))
        answer = await flown.stub.GetSchema(by_path(job.id))
        assert answer.schema == info.schema

    async def test_polling_ends_at_once(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        flown.jobs.finish()
        poll = await flown.stub.PollFlightInfo(by_path(job.id))
        assert poll.info == await flown.stub.GetFlightInfo(by_path(job.id))
        assert (poll.HasField("flight_descriptor"), poll.progress) == (False, 1.0)
        ends = poll.info.endpoint[0].expiration_time.seconds
        assert ends == int(flown.jobs.clock.now) + ServerConfig.job_seconds

    async def test_jobs_are_listed_that_have_results(self, flown: Flights) -> None:
        done = flown.jobs.submit()
        flown.jobs.finish()
        other = flown.jobs.submit(table="other")
        none = flown.jobs.submit()
        flown.jobs.ledger.cancel(none.id, "nobody wants it")

        async def listed(expression: bytes = b"") -> set[str]:
            criteria = pb.Criteria(expression=expression)
            infos = [each async for each in flown.stub.ListFlights(criteria)]
            return {each.flight_descriptor.path[0] for each in infos}

        assert await listed() == {done.id, other.id}
        assert await listed(b"other") == {other.id}
        assert await listed(b"nothing") == set()

    @pytest.mark.parametrize("harm", ["files_gone", "others", "folder_gone", "url_gone"])
    async def test_one_whose_files_are_gone_or_others_is_listed_with_all(
        self, tmp_path: Path, harm: str
    ) -> None:
        """By a worker that has not been asked for it before, and knows no release of its."""
        async with flights(tmp_path) as before:
            kept = before.jobs.submit()
            url = f"memory://listed/{tmp_path.name}"
            lost = before.jobs.submit(output=url if harm == "url_gone" else "", seed=9)
            before.jobs.finish()
        if harm == "files_gone":
            part(lost, 0).unlink()
        elif harm == "others":
            part(lost, 0).write_bytes(part(lost, 0).read_bytes()[:-1] + b"?")
        elif harm == "folder_gone":
            shutil.rmtree(lost.output)
        else:
            fsspec.filesystem("memory").rm(f"/listed/{tmp_path.name}", recursive=True)
        async with flights(tmp_path) as now:
            infos = [each async for each in now.stub.ListFlights(pb.Criteria())]
            found = {each.flight_descriptor.path[0]: each for each in infos}
            assert set(found) == {kept.id, lost.id}
            assert found[kept.id].schema
            assert (found[lost.id].schema, found[lost.id].total_records) == (b"", 2500)
            code, said = await now.refused(now.stub.GetFlightInfo(by_path(lost.id)))
            assert code == (Code.FAILED_PRECONDITION if harm == "others" else Code.UNAVAILABLE)
            assert "part-00000.parquet" in said

    async def test_at_a_url_too(self, flown: Flights, tmp_path: Path) -> None:
        url = f"memory://flights/{tmp_path.name}"
        job = flown.jobs.submit(output=url)
        flown.jobs.finish()
        assert (await flown.read(job.id)).to_pylist() == rows()
        fsspec.filesystem("memory").rm(f"/flights/{tmp_path.name}", recursive=True)
        code, said = await flown.refused(flown.stub.DoGet(pb.Ticket(ticket=job.id.encode())))
        assert code is Code.UNAVAILABLE
        assert f"{url}/data/part-00000.parquet cannot be read" in said


class TestARunningJob:
    """Whoever reads it has the whole of it in the end."""

    async def test_a_file_is_waited_for(self, flown: Flights) -> None:
        job, executor = flown.jobs.submit(), flown.jobs.executor()
        executor.step()
        info = await flown.stub.GetFlightInfo(by_path(job.id))
        # All of them, so that no client takes a part for the whole.
        assert (len(info.endpoint), info.total_records) == (3, 2500)
        first, *others = [each.ticket.ticket for each in info.endpoint]
        assert (await flown.read(first)).to_pylist() == rows(0, 1000)
        reading = [asyncio.create_task(flown.read(each)) for each in (*others, job.id)]
        flown.jobs.finish(executor)
        *parts, whole = await asyncio.gather(*reading)
        assert pa.concat_tables(parts).to_pylist() == rows(1000, 1500)
        assert whole.to_pylist() == rows()

    async def test_a_job_that_nobody_has_begun_is_waited_for(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        info = await flown.stub.GetFlightInfo(by_path(job.id))
        # Its release is not here, and none of its files: what they look like is not known yet.
        assert (info.schema, len(info.endpoint)) == (b"", 3)
        reading = asyncio.create_task(flown.read(job.id))
        asking = asyncio.ensure_future(flown.stub.GetSchema(by_path(job.id)))
        flown.jobs.finish()
        assert (await reading).to_pylist() == rows()
        answer = await asking
        assert pa.ipc.read_schema(pa.py_buffer(answer.schema)).names == ["number", "label"]

    async def test_polling_tells_of_more_and_more(self, flown: Flights) -> None:
        job, executor = flown.jobs.submit(), flown.jobs.executor()
        poll = await flown.stub.PollFlightInfo(by_path(job.id))
        assert (len(poll.info.endpoint), poll.progress) == (0, 0.0)
        seen = []
        while poll.HasField("flight_descriptor"):
            asking = asyncio.ensure_future(flown.stub.PollFlightInfo(poll.flight_descriptor))
            executor.step()
            before, poll = poll, await asking
            assert list(poll.info.endpoint)[: len(before.info.endpoint)] == list(
                before.info.endpoint
            )
            seen.append((len(poll.info.endpoint), poll.info.total_records, poll.progress))
        assert seen == [(1, 1000, 0.4), (2, 2000, 0.8), (3, 2500, 1.0)]

    async def test_a_deadline_ends_the_wait(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        poll = await flown.stub.PollFlightInfo(by_path(job.id))
        for call in (
            flown.stub.PollFlightInfo(poll.flight_descriptor, timeout=0.3),
            flown.stub.DoGet(pb.Ticket(ticket=job.id.encode()), timeout=0.3),
        ):
            assert (await flown.refused(call))[0] is Code.DEADLINE_EXCEEDED

    async def test_nobody_waits_for_a_server_that_stops(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        call = flown.stub.DoGet(pb.Ticket(ticket=f"{job.id}/1".encode()))
        flown.stopping.set()
        assert await flown.refused(call) == (Code.UNAVAILABLE, STOPPING)

    async def test_whoever_reads_is_told_that_it_came_to_nothing(self, flown: Flights) -> None:
        job, executor = flown.jobs.submit(), flown.jobs.executor()
        executor.step()
        reading = asyncio.ensure_future(
            flown.refused(flown.stub.DoGet(pb.Ticket(ticket=job.id.encode())))
        )
        flown.jobs.ledger.cancel(job.id, "nobody wants it")
        said = f"job {job.id} was cancelled and has no results: nobody wants it"
        assert await reading == (Code.FAILED_PRECONDITION, said)
        for method in (flown.stub.GetFlightInfo, flown.stub.PollFlightInfo, flown.stub.GetSchema):
            assert await flown.refused(method(by_path(job.id))) == (Code.FAILED_PRECONDITION, said)


class TestActions:
    """A job may be cancelled, and nothing else."""

    async def test_cancel(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        kinds = [each.type async for each in flown.stub.ListActions(pb.Empty())]
        assert kinds == ["CancelFlightInfo"]
        info = await flown.stub.GetFlightInfo(by_path(job.id))
        body = pb.CancelFlightInfoRequest(info=info).SerializeToString()
        found = []
        for _ in range(2):
            action = pb.Action(type="CancelFlightInfo", body=body)
            (result,) = [each async for each in flown.stub.DoAction(action)]
            found.append(pb.CancelFlightInfoResult.FromString(result.body).status)
        assert found == [pb.CANCEL_STATUS_CANCELLED, pb.CANCEL_STATUS_CANCELLED]
        assert flown.jobs.ledger.job(job.id).state == "CANCELLED"

    async def test_a_job_that_is_done_is_not_cancelled(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        flown.jobs.finish()
        info = pb.FlightInfo(flight_descriptor=by_path(job.id))
        body = pb.CancelFlightInfoRequest(info=info).SerializeToString()
        action = pb.Action(type="CancelFlightInfo", body=body)
        (result,) = [each async for each in flown.stub.DoAction(action)]
        answer = pb.CancelFlightInfoResult.FromString(result.body)
        assert answer.status == pb.CANCEL_STATUS_NOT_CANCELLABLE

    @pytest.mark.parametrize(
        ("action", "code", "said"),
        [
            (pb.Action(type="drop"), Code.INVALID_ARGUMENT, "'drop'; allowed: CancelFlightInfo"),
            (pb.Action(type="CancelFlightInfo"), Code.INVALID_ARGUMENT, "of type 0"),
            (pb.Action(type="CancelFlightInfo", body=b"\xff"), Code.INVALID_ARGUMENT, ""),
            (
                pb.Action(
                    type="CancelFlightInfo",
                    body=pb.CancelFlightInfoRequest(
                        info=pb.FlightInfo(flight_descriptor=by_path("nobody"))
                    ).SerializeToString(),
                ),
                Code.NOT_FOUND,
                "there is no job 'nobody'",
            ),
        ],
    )
    async def test_all_else_is_refused(
        self, flown: Flights, action: pb.Action, code: grpc.StatusCode, said: str
    ) -> None:
        found = await flown.refused(flown.stub.DoAction(action))
        assert found[0] is code
        assert said in found[1]


class TestRefused:
    """By name, and with what is allowed."""

    @pytest.mark.parametrize(
        ("ticket", "code", "said"),
        [
            (b"nobody", Code.NOT_FOUND, "there is no job 'nobody'"),
            (b"nobody/0", Code.NOT_FOUND, "there is no job 'nobody'"),
            (b"../../jobs.sqlite", Code.INVALID_ARGUMENT, "ticket is '../../jobs.sqlite'; allowed"),
            (b"job0/3", Code.NOT_FOUND, "job job0 has no file 3; it has 3, from 0 on"),
            (b"job0/999999999", Code.NOT_FOUND, "has no file 999999999"),
        ],
    )
    async def test_tickets(
        self, flown: Flights, ticket: bytes, code: grpc.StatusCode, said: str
    ) -> None:
        flown.jobs.submit()
        found = await flown.refused(flown.stub.DoGet(pb.Ticket(ticket=ticket)))
        assert found[0] is code
        assert said in found[1]

    async def test_what_is_no_message(self, flown: Flights) -> None:
        for method in ("GetFlightInfo", "PollFlightInfo", "GetSchema"):
            call = getattr(flown.stub, method)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=["nobody"]))
            assert raised.value.code() is Code.NOT_FOUND

    async def test_what_is_not_served(self, flown: Flights) -> None:
        for method, said in (
            (flown.stub.Handshake, "has no handshake; leave out authenticate()"),
            (flown.stub.DoPut, "takes no rows"),
            (flown.stub.DoExchange, "takes no rows"),
        ):
            code, found = await flown.refused(method(iter([])))
            assert code is Code.UNIMPLEMENTED
            assert said in found

    async def test_a_file_that_was_changed_is_not_sent(self, flown: Flights) -> None:
        job = flown.jobs.submit()
        flown.jobs.finish()
        whole = part(job, 1).read_bytes()
        part(job, 1).write_bytes(whole[:100] + b"x" + whole[101:])
        code, said = await flown.refused(flown.stub.DoGet(pb.Ticket(ticket=b"job0/1")))
        assert code is Code.FAILED_PRECONDITION
        assert "part-00001.parquet is not the file that was made: its SHA-256 is" in said
        part(job, 1).unlink()
        code, said = await flown.refused(flown.stub.DoGet(pb.Ticket(ticket=b"job0/1")))
        assert code is Code.UNAVAILABLE
        assert "part-00001.parquet cannot be read: No such file" in said
        assert (await flown.read("job0/0")).num_rows == SHARD_ROWS

    async def test_without_pyarrow_it_says_what_is_missing(
        self, flown: Flights, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = flown.jobs.submit()
        flown.jobs.finish()
        monkeypatch.setattr(service_module, "HAS_ARROW", False)
        for call in (
            flown.stub.GetFlightInfo(by_path(job.id)),
            flown.stub.DoGet(pb.Ticket(ticket=job.id.encode())),
        ):
            found = await flown.refused(call)
            assert found == (Code.FAILED_PRECONDITION, service_module.NO_ARROW)


async def test_who_loses_a_place_has_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers take turns at the one place that there is, and each has every row once."""
    monkeypatch.setattr(files, "MESSAGE_BYTES", 1024)
    decoded: list[int] = []
    messages = ResultFile.messages
    monkeypatch.setattr(
        ResultFile, "messages", lambda file, group: decoded.append(group) or messages(file, group)
    )
    folder_of(tmp_path).mkdir()
    with closing(Jobs(folder_of(tmp_path))) as jobs:
        name = jobs.submit().id
        jobs.finish()
        job, (first, *_) = jobs.ledger.job(name), jobs.ledger.parts(name)
    desk = Desk(ServerConfig(state_dir=tmp_path), None)
    results = Results(desk, Places(1, 0.0))
    head = bytes(schema_message(await results.schema(job, lambda: None)))

    async def read() -> pa.Table:
        found = [pb.FlightData.FromString(head)]
        async for each in results.rows(job, first):
            found.append(pb.FlightData.FromString(bytes(each)))
            await asyncio.sleep(0.01)
        return table_of(found)

    for table in await asyncio.gather(*(read() for _ in range(4))):
        assert table.to_pylist() == rows(0, SHARD_ROWS)
    # More often than if each had read the file's one row group in peace.
    assert len(decoded) > 4
    results.close()
    desk.close()
