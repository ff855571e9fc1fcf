"""Results read by pyarrow's own Flight client, over the port of `cascade serve` as it is typed.

The client runs in a process of its own: it loads a second gRPC, and is not fork-safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from cascade_client import NotFound
from cascade_client.job_control import Jobs

from tests.integration.jobs.kept import done, executors, keeping, stop_executor
from tests.integration.serving import SOON, Served, serve, until
from tests.releases import TABLE

PROGRAM = """
import json, sys
import pyarrow as pa, pyarrow.flight as fl
target, job, *more = sys.argv[1:]
client = fl.connect(target)
by_path = fl.FlightDescriptor.for_path(job)
def rows(ticket):
    return client.do_get(fl.Ticket(ticket)).read_all()
def refused(ask):
    try:
        ask()
    except Exception as exc:
        return type(exc).__name__, str(exc)
    raise SystemExit("it was answered")
"""


def flown(program: str, target: str, job: str = "", *more: str) -> Any:
    """What a program says that asks with pyarrow's client: a JSON document, its last line."""
    words = (sys.executable, "-c", PROGRAM + program, target, job, *more)
    out = subprocess.run(words, capture_output=True, text=True, timeout=SOON, check=False)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout.splitlines()[-1])


def grpc_target(served: Served) -> str:
    return f"grpc://{served.target}"


READ = """
info = client.get_flight_info(by_path)
assert client.get_flight_info(fl.FlightDescriptor.for_command(job)).schema == info.schema
tables = [rows(each.ticket.ticket) for each in info.endpoints]
whole = pa.concat_tables(tables)
assert whole.schema.equals(info.schema, check_metadata=True)
assert client.get_schema(by_path).schema.equals(info.schema, check_metadata=True)
assert rows(job.encode()).equals(whole)
listed = [each.descriptor.path[0].decode() for each in client.list_flights()]
assert job in listed
assert [each.type for each in client.list_actions()] == ["CancelFlightInfo"]
import pyarrow.parquet as pq
assert whole.equals(pq.read_table(more[0])), "other rows than those of the files"
print(json.dumps([info.total_records, info.ordered, len(tables)]))
"""


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def flying(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("flying")
    with keeping(repository, state, "--transport", request.param) as served:
        yield served


def test_a_finished_job_is_read_as_its_files_are(flying: Served) -> None:
    with flying.client() as client:
        job = done(Jobs(client), Jobs(client).submit(TABLE, 20_000, fidelity="full", seed=3))
    assert flown(READ, grpc_target(flying), job.id, job.output) == [20_000, True, job.files]
    assert job.files > 1


def test_refusals_are_the_errors_that_arrow_has(flying: Served) -> None:
    program = """
print(json.dumps([
    refused(lambda: client.get_flight_info(by_path)),
    refused(lambda: rows(b"../../etc/passwd")),
    refused(lambda: client.authenticate_basic_token("name", "password")),
    refused(lambda: client.do_put(by_path, pa.schema([]))[0].close()),
    refused(lambda: list(client.do_action("drop"))),
]))
"""
    unknown, ticket, handshake, put, action = flown(program, grpc_target(flying), "nobody")
    assert unknown[0] == "ArrowKeyError"
    assert "there is no job 'nobody'" in unknown[1]
    assert ticket[0] == "ArrowInvalid"
    assert "ticket is '../../etc/passwd'; allowed: a job's id" in ticket[1]
    assert handshake[0] == "ArrowNotImplementedError"
    assert "this server has no handshake" in handshake[1]
    assert put[0] == "ArrowNotImplementedError"
    assert "takes no rows" in put[1]
    assert "action is 'drop'; allowed: CancelFlightInfo" in action[1]


def test_a_running_job_is_read_to_its_end(served: Served, jobs: Jobs) -> None:
    """Who reads what is not made yet waits for it; nothing is missing in the end."""
    until(lambda: not executors(served))
    job = jobs.submit(TABLE, 60_000, fidelity="full", seed=8)
    executor = stop_executor(served, 0)
    program = """
info = client.get_flight_info(by_path)
print(json.dumps([info.total_records, len(info.endpoints), info.schema.names]), flush=True)
sys.stdin.readline()
whole = rows(job.encode())
import pyarrow.parquet as pq
assert whole.equals(pq.read_table(more[0]))
assert whole.schema.equals(info.schema, check_metadata=True)
print(json.dumps(whole.num_rows))
"""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program, grpc_target(served), job.id, job.output],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        told = json.loads(reader.stdout.readline())
        names = ["amount", "channel", "items", "at", "member", "fraud"]
        assert told == [60_000, job.files, names]
        psutil.Process(executor).resume()
        out, _ = reader.communicate("\n", timeout=SOON * 2)
    assert json.loads(out) == 60_000


def test_a_job_is_cancelled(served: Served, jobs: Jobs) -> None:
    job = jobs.submit(TABLE, 100_000, fidelity="full", seed=9)
    # pyarrow has no name for the action, whose body is protobuf: CancelFlightInfoRequest's one
    # field is the FlightInfo.
    program = """
info = client.get_flight_info(by_path).serialize()
size, length = len(info), b""
while size > 127:
    length, size = length + bytes([size & 127 | 128]), size >> 7
body = b"\\x0a" + length + bytes([size]) + info
(result,) = client.do_action(fl.Action("CancelFlightInfo", body))
print(json.dumps(result.body.to_pybytes().hex()))
"""
    assert flown(program, grpc_target(served), job.id) == "0801"
    assert jobs.wait(job.id).state == "CANCELLED"


def test_over_the_servers_own_socket(served: Served, jobs: Jobs) -> None:
    job = done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=2))
    arguments = psutil.Process(served.process.pid).cmdline()
    state = arguments[arguments.index("--state-dir") + 1]
    program = "print(json.dumps(rows(job.encode()).num_rows))"
    assert flown(program, f"grpc+unix://{state}/control.sock", job.id) == 500


def test_a_server_without_a_folder_says_how_to_have_one(repository: Path) -> None:
    program = "print(json.dumps(refused(lambda: client.get_flight_info(by_path))))"
    with serve("--repository", str(repository), "--pool-mib", "0") as served:
        _, said = flown(program, grpc_target(served), "nobody")
    assert "`cascade serve --state-dir FOLDER` starts one that does" in said


def test_a_server_without_pyarrow_starts_and_says_what_is_missing(
    served: Served, jobs: Jobs, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    with keeping(repository, state) as with_arrow, with_arrow.client() as client:
        job = done(Jobs(client), Jobs(client).submit(TABLE, 100, fidelity="fast"))
    assert pq.read_table(job.output).num_rows == 100
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        with keeping(repository, state) as without:
            patched.undo()
            program = "print(json.dumps(refused(lambda: client.get_flight_info(by_path))))"
            _, said = flown(program, grpc_target(without), job.id)
            with without.client() as client, pytest.raises(NotFound):
                Jobs(client).get("nobody")
    assert "needs pyarrow; `pip install cascade-synthesis[jobs]`" in said
