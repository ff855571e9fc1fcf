"""Who is let in, by a clock of the test's: keys, certificates, rates, quotas, reloads."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from cascade_proto import flight_pb2, inference_pb2, jobs_pb2, synthesis_pb2
from cascade_server.access import rates
from cascade_server.access.access import Access
from cascade_server.access.auditing import Refusals
from cascade_server.access.deciding import KINDS, OPEN, Refused
from cascade_server.access.grants import ANYBODY, LOCAL, Caller, Kind, Known, Reason
from cascade_server.access.metrics import AccessCollector
from cascade_server.access.quotas import CostMeter, QuotaFile
from cascade_server.counts.shared.compute import ComputeCounts, UsageKey, UsageTier, Used
from cascade_server.counts.shared.tenant_counts import SLOTS, TenantCounts
from cascade_server.memory import Memory

from tests.server.access.examples import Clock, Peer, access_of, headers, key_of, lines

SYNTHESIZE = "/cascade.v1.Synthesis/Synthesize"
LIST = "/cascade.v1.Synthesis/ListTables"
TENANTS = f"""
tenants:
  fraud:
    keys: {lines("fraud")}
    certificates: [scoring.bank.example]
    tables: [credit]
    may: [synthesize]
  batch:
    keys: {lines("batch", expires="E").replace('"E"', "2027-01-16")}
    tables: "*"
    may: [generate, jobs, results]
"""


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)  # 2027-01-15


def known(found: Caller | Refused) -> Caller:
    assert isinstance(found, Caller), found
    return found


def refused(found: Caller | Refused | None) -> Refused:
    assert isinstance(found, Refused), found
    return found


class TestWhoAsks:
    """By what is shown, in the order in which it says most."""

    def test_a_key_in_either_header(self, tmp_path: Path, clock: Clock) -> None:
        access, (key, record) = access_of(TENANTS, tmp_path, clock), key_of("fraud")
        for sent in (headers(key), ((b"x-api-key", key.encode()),)):
            caller = known(access.caller(sent))
            assert (caller.tenant, caller.known) == ("fraud", Known.KEY)
            assert caller.credential == record.id
            assert key not in repr(caller)

    def test_a_certificate(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(TENANTS, tmp_path, clock)
        caller = known(access.caller(headers(), ("x", "scoring.bank.example")))
        assert (caller.tenant, caller.known) == ("fraud", Known.CERTIFICATE)
        assert refused(access.caller(headers(), ("x",))).reason is Reason.NO_TENANT

    def test_a_key_counts_before_a_certificate_and_a_wrong_one_is_wrong(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        access, names = access_of(TENANTS, tmp_path, clock), ("scoring.bank.example",)
        assert known(access.caller(headers(), names)).tenant == "fraud"
        assert known(access.caller(headers(key_of("batch")[0]), names)).tenant == "batch"
        for sent in (
            headers(key_of("nobody")[0]),
            headers("xyz"),
            ((b"authorization", b"Basic YTpi"),),
            ((b"authorization", b"Bearer a b"),),
            ((b"authorization", b"Bearer \xff"),),
        ):
            assert refused(access.caller(sent, names)).reason is Reason.BAD_CREDENTIAL

    def test_nobody(self, tmp_path: Path, clock: Clock) -> None:
        found = refused(access_of(TENANTS, tmp_path, clock).caller(headers()))
        assert found.reason is Reason.NO_CREDENTIAL
        assert "Bearer" in found.message

    def test_a_key_ends_when_it_says_though_it_was_seen_before(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        access, sent = access_of(TENANTS, tmp_path, clock), headers(key_of("batch")[0])
        assert known(access.caller(sent))
        clock.now += 86_400
        assert refused(access.caller(sent)).reason is Reason.EXPIRED

    def test_tokens_where_none_are_taken(self, tmp_path: Path, clock: Clock) -> None:
        found = refused(access_of(TENANTS, tmp_path, clock).caller(headers("a.b.c")))
        assert "API keys are" in found.message

    def test_no_refusal_names_a_tenant_or_repeats_a_secret(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        access = access_of(TENANTS, tmp_path, clock)
        clock.now += 86_400
        for name in ("fraud", "batch", "nobody"):
            key, _ = key_of(name)
            for found in (access.caller(headers(key)), access.caller(headers(key + "x"))):
                if isinstance(found, Refused):
                    assert key not in found.message
                    assert not any(each in found.message for each in ("fraud", "batch", "credit"))


class TestWhatItMayDo:
    """Asked at the headers of every call."""

    def test_kinds(self, tmp_path: Path, clock: Clock) -> None:
        access, sent = access_of(TENANTS, tmp_path, clock), headers(key_of("fraud")[0])
        assert access.door(SYNTHESIZE, sent, Peer()) is None
        assert access.door(LIST, sent, Peer()) is None
        found = refused(access.door("/cascade.v1.Jobs/SubmitJob", sent, Peer()))
        assert found.reason is Reason.NOT_PERMITTED
        assert "may ask for: synthesize" in found.message

    def test_health_is_for_anybody(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(TENANTS, tmp_path, clock)
        for path in OPEN:
            assert access.door(path, headers(), Peer()) is None
        assert refused(access.door("/no.such/Method", headers(), Peer()))

    def test_every_method_has_a_kind(self) -> None:
        files = (synthesis_pb2, jobs_pb2, inference_pb2, flight_pb2)
        services = [each for file in files for each in file.DESCRIPTOR.services_by_name.values()]
        methods = {
            f"/{each.full_name}/{method.name}" for each in services for method in each.methods
        }
        assert methods <= KINDS.keys() | OPEN

    def test_a_method_that_nobody_thought_of_is_nobodys(self, tmp_path: Path, clock: Clock) -> None:
        access, sent = access_of(TENANTS, tmp_path, clock), headers(key_of("fraud")[0])
        found = refused(access.handler("/cascade.v1.New/Call", sent, Peer(), at_door=True))
        assert found.reason is Reason.NOT_PERMITTED

    def test_who_is_not_asked_may_all(self) -> None:
        for caller in (ANYBODY, LOCAL):
            assert caller.grant.sees("any")
            assert caller.grant.kinds == frozenset(Kind)
            assert caller.owns("anybody")


class TestRates:
    """Requests and rows a second, in all processes of a server together."""

    def test_requests(self, tmp_path: Path, clock: Clock) -> None:
        text = TENANTS.replace("may: [synthesize]", "may: [synthesize]\n    rates: {requests: 4}")
        access, sent = access_of(text, tmp_path, clock), headers(key_of("fraud")[0])
        for _ in range(4):
            assert access.door(SYNTHESIZE, sent, Peer()) is None
        found = refused(access.door(SYNTHESIZE, sent, Peer()))
        assert found.reason is Reason.REQUEST_RATE
        assert found.seconds == pytest.approx(0.25, abs=1e-6)
        clock.now += 0.2501
        assert access.door(SYNTHESIZE, sent, Peer()) is None

    def test_processes_share_them(self, tmp_path: Path, clock: Clock) -> None:
        text = TENANTS.replace("may: [synthesize]", "may: [synthesize]\n    rates: {requests: 10}")
        counts, sent = TenantCounts(2, Memory()), headers(key_of("fraud")[0])
        both = [access_of(text, tmp_path, clock, place, counts=counts) for place in (0, 1)]
        answers = [each.door(SYNTHESIZE, sent, Peer()) for _ in range(10) for each in both]
        assert answers.count(None) == 10

    def test_rows_are_owed_by_who_asked_for_many(self, tmp_path: Path, clock: Clock) -> None:
        text = TENANTS.replace("may: [synthesize]", "may: [synthesize]\n    rates: {rows: 100}")
        access = access_of(text, tmp_path, clock)
        caller = known(access.caller(headers(key_of("fraud")[0])))
        assert access.rows(caller) is None
        access.charge(caller, 300)
        assert access.owes(caller) == pytest.approx(2.01, abs=1e-6)
        assert refused(access.rows(caller)).reason is Reason.ROW_RATE
        clock.now += 2.02
        assert access.rows(caller) is None

    def test_a_bucket_of_any_depth_has_a_last_moment(self, tmp_path: Path, clock: Clock) -> None:
        rate = "rates: {rows: {per_second: 0.001, burst: 1000000000000}}"
        text = TENANTS.replace("may: [synthesize]", f"may: [synthesize]\n    {rate}")
        access = access_of(text, tmp_path, clock)
        caller = known(access.caller(headers(key_of("fraud")[0])))
        for _ in range(200):
            access.charge(caller, 65_536)
        assert access.rows(caller) is None

    def test_where_nobody_tells_of_ends_connections_are_not_counted(
        self, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = TENANTS.replace(
            "may: [synthesize]", "may: [synthesize]\n    limits: {connections: 1}"
        )
        access = access_of(text, tmp_path, clock, knows_connections=False)
        assert "limits.connections of fraud are not kept" in caplog.text
        for number in range(3):
            peer = Peer(f"ipv4:10.0.0.1:{number}")
            assert access.door(SYNTHESIZE, headers(key_of("fraud")[0]), peer) is None


class TestQuotas:
    """Rows and cost of a day of UTC."""

    TEXT = TENANTS.replace(
        "may: [synthesize]", "may: [synthesize]\n    quotas: {rows: 100, cost: 2}"
    )

    def test_rows(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(self.TEXT, tmp_path, clock)
        caller = known(access.caller(headers(key_of("fraud")[0])))
        assert access.quota(caller, 100) is None
        access.charge(caller, 60)
        found = refused(access.quota(caller, 41))
        assert (found.reason, found.seconds) == (Reason.ROW_QUOTA, None)
        assert "40 are left of the 100 rows" in found.message
        assert access.quota(caller, 40) is None
        clock.now += rates.DAY
        assert access.quota(caller, 100) is None

    def test_cost(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(self.TEXT, tmp_path, clock)
        caller = known(access.caller(headers(key_of("fraud")[0])))
        access.counts.used(caller.slot, rates.day_of(clock.now), 0, 1.5)
        assert access.quota(caller) is None
        access.counts.used(caller.slot, rates.day_of(clock.now), 0, 0.6)
        assert refused(access.quota(caller)).reason is Reason.COST_QUOTA

    def test_what_was_computed_is_charged_by_its_price(self, tmp_path: Path, clock: Clock) -> None:
        access, compute = access_of(self.TEXT, tmp_path, clock), ComputeCounts((), Memory())
        key = UsageKey("credit", UsageTier.STUDENT, "fraud")
        compute.add(key, Used(seconds=100.0))  # of a process before, charged by that one
        meter = CostMeter(access, [compute], lambda seconds, gpu: 0.01 * seconds + gpu)
        compute.add(key, Used(seconds=50.0, gpu_seconds=1.0))
        compute.add(key._replace(tenant="gone"), Used(seconds=50.0))
        meter.look()
        meter.look()
        assert access.cost_today(access.holding.slots["fraud"]) == pytest.approx(1.5)

    def test_what_was_held_is_given_back_to_its_day(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(self.TEXT, tmp_path, clock)
        caller = known(access.caller(headers(key_of("fraud")[0])))
        access.give_back(caller, access.hold(caller, 60))
        assert access.quota(caller, 100) is None
        held = access.hold(caller, 60)
        clock.now += rates.DAY
        access.charge(caller, 30)
        access.give_back(caller, held)  # of yesterday: today is not to have 60 more for it
        assert refused(access.quota(caller, 71))
        assert access.quota(caller, 70) is None

    def test_a_reload_forgets_nothing(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(self.TEXT, tmp_path, clock)
        access.charge(known(access.caller(headers(key_of("fraud")[0]))), 100)
        access.path.write_text(self.TEXT.replace("rows: 100", "rows: 101"))
        assert access.reload()
        caller = known(access.caller(headers(key_of("fraud")[0])))
        assert refused(access.quota(caller, 2))
        assert access.quota(caller, 1) is None


class TestRestarts:
    """What was used today outlives the server."""

    def test_it_is_kept_and_restored_once(self, tmp_path: Path, clock: Clock) -> None:
        def begun() -> tuple[Access, QuotaFile]:
            access = access_of(TestQuotas.TEXT, tmp_path, clock)
            return access, QuotaFile(tmp_path, access, 60)

        def left(access: Access) -> int:
            slot = access.holding.slots["fraud"]
            return 100 - access.counts.all.today("rows", slot, rates.day_of(clock.now))

        access, file = begun()
        file.restore()
        access.charge(known(access.caller(headers(key_of("fraud")[0]))), 30)
        file.save()
        access, file = begun()
        file.restore()
        file.restore()
        assert left(access) == 70
        clock.now += 86_400
        access, file = begun()
        file.restore()
        assert left(access) == 100

    @pytest.mark.parametrize("content", ["{", "[]", '{"day": 1, "tenants": {"a": [1]}}', ""])
    def test_a_damaged_file_is_set_aside(
        self, tmp_path: Path, clock: Clock, content: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "quotas.json").write_text(content)
        QuotaFile(tmp_path, access_of(TENANTS, tmp_path, clock), 60).restore()
        assert "quotas of the day begin anew" in caplog.text


class TestScrapes:
    """Metrics are for who may ask for statistics of all tables."""

    def test_who_may(self, tmp_path: Path, clock: Clock) -> None:
        text = TENANTS.replace("may: [generate, jobs, results]", "may: [statistics]")
        access = access_of(text, tmp_path, clock)
        for sent, status in (
            ("", 401),
            ("Bearer x", 401),
            ("Bearer \u20ac", 401),
            (f"Bearer {key_of('fraud')[0]}", 403),
            (f"Bearer {key_of('batch')[0]}", 0),
        ):
            assert access.scrape_refusal(sent) == status


class TestConnections:
    """At once, in all processes."""

    def test_as_many_as_there_may_be(self, tmp_path: Path, clock: Clock) -> None:
        text = TENANTS.replace(
            "may: [synthesize]", "may: [synthesize]\n    limits: {connections: 2}"
        )
        access, sent = access_of(text, tmp_path, clock), headers(key_of("fraud")[0])
        first, second, third = (Peer(f"ipv4:10.0.0.{n}:1") for n in range(3))
        for peer in (first, second, first, second):
            assert access.door(SYNTHESIZE, sent, peer) is None
        assert refused(access.door(SYNTHESIZE, sent, third)).reason is Reason.CONNECTIONS
        access.gone(first)
        access.gone(first)
        assert access.door(SYNTHESIZE, sent, third) is None
        assert refused(access.door(SYNTHESIZE, sent, first))


class TestReloading:
    """A new file holds at once; one that is none changes nothing."""

    def test_a_key_that_is_left_out_opens_no_more(self, tmp_path: Path, clock: Clock) -> None:
        access, sent = access_of(TENANTS, tmp_path, clock), headers(key_of("fraud")[0])
        assert known(access.caller(sent))
        access.path.write_text(TENANTS.replace(lines("fraud"), lines("newer")))
        assert access.reload()
        assert refused(access.caller(sent)).reason is Reason.BAD_CREDENTIAL
        assert known(access.caller(headers(key_of("newer")[0]))).tenant == "fraud"

    def test_a_broken_file_is_refused(
        self, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        access, sent = access_of(TENANTS, tmp_path, clock), headers(key_of("fraud")[0])
        for content in ("tenants: [", "tenants: {fraud: {may: [everything]}}", ""):
            access.path.write_text(content)
            assert not access.reload()
            assert known(access.caller(sent)).tenant == "fraud"
        access.path.unlink()
        assert not access.reload()
        assert access.failed_reloads == 4
        assert "what held before still does" in caplog.text

    def test_the_same_again_is_no_news(self, tmp_path: Path, clock: Clock) -> None:
        access = access_of(TENANTS, tmp_path, clock)
        assert not access.reload()


class TestCounting:
    """What is told of refusals and tenants."""

    def test_metrics_of_all_processes(self, tmp_path: Path, clock: Clock) -> None:
        counts, sent = TenantCounts(2, Memory()), headers(key_of("fraud")[0])
        one, other = (access_of(TENANTS, tmp_path, clock, n, counts=counts) for n in (0, 1))
        for each in (one, one, other):
            assert each.door(SYNTHESIZE, sent, Peer()) is None
        other.door(SYNTHESIZE, headers(), Peer())
        one.charge(known(one.caller(sent)), 7)
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in AccessCollector(other).collect()
            for sample in family.samples
        }
        assert samples["cascade_access_calls_total", "fraud"] == 3
        assert samples["cascade_access_rows_total", "fraud"] == 7
        assert samples["cascade_access_refusals_total", "no_credential"] == 1

    def test_tenants_beyond_a_hundred_are_one_series(self, tmp_path: Path, clock: Clock) -> None:
        text = "tenants:\n" + "".join(f"  t{number}: {{}}\n" for number in range(150))
        collector = AccessCollector(access_of(text, tmp_path, clock))
        calls = next(each for each in collector.collect() if each.name == "cascade_access_calls")
        assert len(calls.samples) == 101

    def test_refusals_alike_are_written_down_now_and_then(self) -> None:
        refusals, why = Refusals(), Refused(Reason.BAD_CREDENTIAL, "no")
        written = [refusals.entry(why, SYNTHESIZE, "a", now) for now in range(0, 130, 10)]
        entries = [each for each in written if each is not None]
        assert [each["unwritten"] for each in entries] == [0, 5, 5]
        other = Refused(Reason.EXPIRED, "no")
        assert refusals.entry(other, SYNTHESIZE, "a", 130) is not None


class TestPlaces:
    """Where tenants are counted."""

    def test_they_keep_theirs_and_new_ones_take_those_of_who_left(self) -> None:
        counts = TenantCounts(1, Memory())
        first = counts.slots(["a", "b"])
        assert counts.slots(["b", "c", "a"]).items() >= first.items()
        counts.of(0).call(first["a"])
        seen = set()
        for number in itertools.count():
            names = [f"{number}-{each}" for each in range(1000)]
            slots = counts.slots(["b", *names])
            assert slots["b"] == first["b"]
            assert len(set(slots.values())) == 1001
            seen |= set(slots.values())
            if len(seen) == SLOTS:
                break
        assert counts.total("calls", first["a"]) == 0

    def test_a_process_begins_without_connections(self, tmp_path: Path, clock: Clock) -> None:
        counts = TenantCounts(1, Memory())
        counts.of(0).connected(3, 1)
        counts.of(0)
        assert counts.total("connections", 3) == 0


def test_access_that_is_made_of_no_file(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(Exception, match="cannot be read"):
        Access(tmp_path / "none.yaml", TenantCounts(1, Memory()).of(0))
