"""`cascade serve --access` as it is typed, with two workers: jobs, Flight, rates, control.

All ask one server, each as tenants whose rates and jobs no other test takes or leaves it with what
it found: any process may run any of them, in any order.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import HTTPError

import psutil
import pytest
from cascade_client import Client, NotFound, Overloaded, PermissionDenied, Retry, Unauthenticated
from cascade_client.job_control import Jobs
from click.testing import CliRunner

from tests.integration.jobs.kept import done
from tests.integration.serving import SOON, Served, serve, until
from tests.releases import TABLE, make_release
from tests.server.access.examples import key_of, lines

TENANTS = f"""
tenants:
  alice:
    keys: {lines("alice")}
    tables: [{TABLE}]
    may: [synthesize, jobs, results]
    quotas: {{rows: 1000}}
  bob:
    keys: {lines("bob")}
    tables: "*"
    may: [synthesize, jobs, results, statistics]
  carol:
    keys: {lines("carol")}
    tables: "*"
    may: [synthesize, jobs]
  dave:
    keys: {lines("dave")}
    tables: "*"
    may: [synthesize]
    rates: {{requests: {{per_second: 0.001, burst: 30}}}}
  operator:
    keys: {lines("operator")}
    tables: "*"
    may: [releases, statistics]
"""


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("access") / "access.yaml"
    path.write_text(TENANTS)
    return path


@pytest.fixture(scope="module")
def served(access: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    repository = tmp_path_factory.mktemp("model_repository")
    make_release(repository)
    options = ("--repository", str(repository), "--state-dir", str(access.parent / "state"))
    more = ("--access", str(access), "--workers", "2", "--pool-mib", "0", "--metrics-port", "0")
    with serve(*options, *more) as one:
        yield one


def client(served: Served, name: str) -> Client:
    once = Retry(attempts=1)
    return Client(served.target, api_key=key_of(name)[0], timeout=SOON, retry=once)


def patient(served: Served, name: str) -> Client:
    """One that asks again, as clients do by default."""
    return Client(served.target, api_key=key_of(name)[0], timeout=SOON)


FLIGHT = """
import sys
import pyarrow.flight as fl
target, key, job = sys.argv[1:]
client = fl.connect(f"grpc://{target}")
options = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key.encode())])
try:
    print(len(list(client.list_flights(options=options))))
    info = client.get_flight_info(fl.FlightDescriptor.for_path(job), options)
    print(sum(client.do_get(e.ticket, options).read_all().num_rows for e in info.endpoints))
except Exception as exc:
    print(type(exc).__name__)
"""


def flown(served: Served, name: str, job: str) -> list[str]:
    words = (sys.executable, "-c", FLIGHT, served.target, key_of(name)[0], job)
    found = subprocess.run(words, capture_output=True, text=True, timeout=SOON, check=True)
    return found.stdout.split()


class TestJobs:
    """Jobs belong to who submitted them."""

    def test_others_do_not_see_read_or_cancel_them(self, served: Served) -> None:
        with client(served, "alice") as alice, client(served, "bob") as bob:
            own, others = Jobs(alice), Jobs(bob)
            job = done(own, own.submit(TABLE, 100, fidelity="fast", seed=3, token="mine"))
            assert [each.id for each in own.list()] == [job.id]
            assert others.list() == ()
            for ask in (
                lambda: others.get(job.id),
                lambda: others.cancel(job.id),
                lambda: others.wait(job.id),
                lambda: next(iter(others.watch(job.id))),
            ):
                with pytest.raises(NotFound, match="there is no job"):
                    ask()
            assert own.submit(TABLE, 100, fidelity="fast", seed=3).id == job.id
            # An equal job, or an equal token, of another tenant is another job.
            other = done(others, others.submit(TABLE, 100, fidelity="fast", seed=3, token="mine"))
            assert other.id != job.id
        assert flown(served, "alice", job.id) == ["1", "100"]
        assert (
            flown(served, "bob", job.id)[-1] == "FlightUnavailableError"
            or flown(served, "bob", job.id)[0] == "1"
        )
        assert "100" not in flown(served, "bob", job.id)
        # Whoever may open the server's own socket sees all.
        socket = served.process.args[served.process.args.index("--state-dir") + 1]  # type: ignore[index, union-attr]
        with Client(f"unix:{socket}/control.sock", timeout=SOON) as local:
            assert {each.id for each in Jobs(local).list()} >= {job.id, other.id}

    def test_a_job_takes_its_rows_of_the_day(self, served: Served) -> None:
        with client(served, "alice") as alice:
            own = Jobs(alice)
            done(own, own.submit(TABLE, 100, fidelity="fast", seed=3))
            with pytest.raises(Overloaded) as caught:
                own.submit(TABLE, 901, fidelity="fast")
        assert re.search(r"[\d,]+ are left of the 1,000 rows", str(caught.value))


class TestControl:
    """Releases, over the network, for who may."""

    def test_who_may_and_who_may_not(self, served: Served, access: Path) -> None:
        with client(served, "alice") as alice, pytest.raises(PermissionDenied):
            alice.releases.list()
        with client(served, "operator") as operator:
            assert {each.table for each in operator.releases.list().releases} == {TABLE}
            with patient(served, "operator") as other:  # whatever else is being loaded
                other.releases.load(TABLE)
            with pytest.raises(PermissionDenied):
                operator.synthesize(TABLE, {})
        with client(served, "carol") as carol:
            done(Jobs(carol), Jobs(carol).submit(TABLE, 10, fidelity="fast", seed=4))
        log = access.parent / "state" / "audit" / "audit.log"
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        events = {(each["event"], each.get("tenant")) for each in entries}
        assert ("release control", "operator") in events
        assert ("access refused", "alice") in events
        assert ("submitted", "carol") in events
        from cascade_cli.program import main

        words = ["audit", "verify", "--state-dir", str(access.parent / "state")]
        assert CliRunner().invoke(main, words).exit_code == 0


def let_in_of(served: Served, calls: int) -> int:
    """How many of dave's calls are let in, by eight connections spread over both workers."""
    let_in = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(client(served, "dave")) for _ in range(8)]
        for each in (clients * calls)[:calls]:
            with suppress(Overloaded):
                each.synthesize(TABLE, {}, fidelity="fast")
                let_in += 1
    return let_in


def test_a_rate_holds_for_all_workers(served: Served) -> None:
    # Each call takes one of the same thirty.
    assert let_in_of(served, 64) <= 30


def test_metrics_and_no_secret_on_the_command_line(served: Served) -> None:
    url = re.findall(r"http://\S+", "".join(served.lines))[0]

    def scraped(name: str) -> str:
        sent = {"Authorization": f"Bearer {key_of(name)[0]}"} if name else {}
        request = urllib.request.Request(url, headers=sent)
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return str(answer.read().decode())

    for name, status in (("", 401), ("nobody", 401), ("alice", 403)):
        with pytest.raises(HTTPError) as caught:
            scraped(name)
        assert caught.value.code == status
        caught.value.close()
    with client(served, "alice") as alice:
        alice.synthesize(TABLE, {}, fidelity="fast")
    let_in_of(served, 64)
    text = scraped("operator")
    assert re.search(r'cascade_access_calls_total\{tenant="alice"\} [1-9]', text)
    assert re.search(r'cascade_access_refusals_total\{reason="request_rate"\} [1-9]', text)
    everything = text + "".join(served.lines)
    processes = [psutil.Process(served.process.pid), *served.children]
    for each in processes:
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # of the generation before
            everything += " ".join(each.cmdline())
    assert not any(key_of(name)[0] in everything for name in ("alice", "bob", "operator"))


def test_a_hang_up_reads_the_file_anew_in_all_workers(served: Served, access: Path) -> None:
    def told(tenants: str, name: str) -> None:
        """Give the server other tenants, and wait until no worker knows the one of some name."""

        def refused() -> bool:
            with client(served, name) as one:
                try:
                    one.tables()
                except Unauthenticated:
                    return True
                return False

        access.write_text(tenants)
        served.process.send_signal(signal.SIGHUP)
        until(lambda: all(refused() for _ in range(4)))

    told(TENANTS.replace(lines("alice"), lines("newer")), "alice")
    with client(served, "newer") as newer:
        assert [each.table for each in newer.tables()] == [TABLE]
    told(TENANTS, "newer")
