"""What clients may call jobs and their files by, and what they may not."""

from __future__ import annotations

import pytest
from cascade_proto import flight_pb2 as pb
from cascade_server.errors import BadRequest
from cascade_server.services.flight.names import Asked, asked_of, job_of, table_of
from hypothesis import given
from hypothesis import strategies as st

PATH, CMD = pb.FlightDescriptor.PATH, pb.FlightDescriptor.CMD


class TestTickets:
    """A job, or one of its files by number."""

    def test_all_rows_or_those_of_a_file(self) -> None:
        assert Asked("5f3a9c1e7b20") == asked_of(pb.Ticket(ticket=b"5f3a9c1e7b20"))
        assert Asked("5f3a9c1e7b20", 12) == asked_of(pb.Ticket(ticket=b"5f3a9c1e7b20/12"))

    @pytest.mark.parametrize(
        "sent",
        [
            *(b"", b"/", b"/0", b"job/", b"job/-1", b"job/1.5", b"job/1e3", b"job/0/0", b"job/x"),
            *(b"..", b"../../etc/passwd", b"job/../other", b"job\x00", b"job\n", b"j\xc3\xa4b"),
            *(b"\xff\xfe", b"job/" + b"9" * 10, b"a" * 65, b"a" * 100_000, "job/٣".encode()),
        ],
    )
    def test_all_else_is_refused_by_name(self, sent: bytes) -> None:
        with pytest.raises(BadRequest, match=r"(?s)ticket is .*; allowed: a job's id") as found:
            asked_of(pb.Ticket(ticket=sent))
        assert len(str(found.value)) < 1000

    @given(st.binary(max_size=40))
    def test_whatever_is_sent_is_a_ticket_or_refused(self, sent: bytes) -> None:
        try:
            asked = asked_of(pb.Ticket(ticket=sent))
        except BadRequest:
            return
        assert asked.job.isascii()
        assert not set(asked.job) & set("/.\\")


class TestDescriptors:
    """A path of one component, or a command."""

    def test_a_path_and_a_command_are_the_same_job(self) -> None:
        assert job_of(pb.FlightDescriptor(type=PATH, path=["job1"])) == ("job1", None)
        assert job_of(pb.FlightDescriptor(type=CMD, cmd=b"job1")) == ("job1", None)
        assert job_of(pb.FlightDescriptor(type=CMD, cmd=b"job1?files=3")) == ("job1", 3)

    @pytest.mark.parametrize(
        ("descriptor", "said"),
        [
            (pb.FlightDescriptor(), "of type 0"),
            (pb.FlightDescriptor(type=7, path=["job1"]), "of type 7"),  # type: ignore[arg-type]
            (pb.FlightDescriptor(type=PATH), "path ''"),
            (pb.FlightDescriptor(type=PATH, path=["job1", "0"]), "path 'job1/0'"),
            (pb.FlightDescriptor(type=PATH, path=["../job1"]), "path '../job1'"),
            (pb.FlightDescriptor(type=CMD, cmd=b"SELECT 1"), "command 'SELECT 1'"),
            (pb.FlightDescriptor(type=CMD, cmd=b"job1?files=-1"), "command 'job1.files=-1'"),
            (pb.FlightDescriptor(type=CMD, cmd=b"\xff"), "command '"),
        ],
    )
    def test_all_else_is_refused_by_name(self, descriptor: pb.FlightDescriptor, said: str) -> None:
        with pytest.raises(BadRequest, match=f"the descriptor is {said}.*allowed: a path of one"):
            job_of(descriptor)


def test_criteria_name_a_table() -> None:
    assert table_of(pb.Criteria()) == ""
    assert table_of(pb.Criteria(expression=b"credit")) == "credit"
    for sent in (b"\xff\x00", b"a" * 1025):
        with pytest.raises(BadRequest, match="allowed: nothing, for all jobs, or the name"):
            table_of(pb.Criteria(expression=sent))
