"""A job as Flight describes it, however many files it has."""

from __future__ import annotations

import json
from pathlib import Path

from cascade_jobs.job import Job
from cascade_jobs.shards import rows_of_shard
from cascade_jobs.states import JobState
from cascade_server.services.flight.infos import FILES_A_TURN, info_of, poll_info_of

from tests.jobs.made_up import SPECIFICATION


def job(rows: int, shard_rows: int, state: JobState = JobState.RUNNING, drawn: int = 0) -> Job:
    made = SPECIFICATION.__class__.from_json(
        SPECIFICATION.to_json().replace('"rows":2500', f'"rows":{rows}')
    )
    return Job(
        id="job1",
        specification=made,
        output=str(Path("out")),
        is_owned=True,
        state=state,
        reason="",
        waiting="",
        created=1.0,
        started=2.0,
        finished=3.5 if state is JobState.DONE else 0.0,
        rows_done=0,
        rows_drawn=drawn,
        shards_done=0,
        shard_rows=shard_rows,
        bytes=0,
    )


def test_every_row_is_behind_one_ticket() -> None:
    rows, shard_rows = 10_000_001, rows_of_shard(15, True)
    info = info_of(job(rows, shard_rows), b"schema", 60.0)
    assert len(info.endpoint) == -(-rows // shard_rows) > FILES_A_TURN
    assert len({each.ticket.ticket for each in info.endpoint}) == len(info.endpoint)
    parts = [json.loads(each.app_metadata) for each in info.endpoint]
    assert sum(each["rows"] for each in parts) == rows == info.total_records
    assert [each["first_row"] for each in parts] == list(range(0, rows, shard_rows))
    assert not info.endpoint[0].HasField("expiration_time")


def test_a_ticket_is_good_for_as_long_as_its_job_is_remembered() -> None:
    info = info_of(job(10, 10, JobState.DONE), b"", 60.0)
    assert [each.expiration_time.seconds for each in info.endpoint] == [63]


def test_a_part_of_a_job_says_how_to_ask_for_more() -> None:
    poll = poll_info_of(job(35, 10, drawn=28), b"", 60.0, 2)
    assert (len(poll.info.endpoint), poll.info.total_records, poll.progress) == (2, 20, 0.8)
    assert poll.flight_descriptor.cmd == b"job1?files=2"
    whole = poll_info_of(job(35, 10, drawn=35), b"", 60.0, 4)
    assert (len(whole.info.endpoint), whole.info.total_records, whole.progress) == (4, 35, 1.0)
    assert not whole.HasField("flight_descriptor")
