"""Which server, until when, what a failure means: no server is needed to know."""

from __future__ import annotations

import math

import grpc
import pytest
from cascade_server.addresses import servers_of
from cascade_server.config import ServerConfig
from cascade_server.engines.latency_model import Line, Outlook
from cascade_server.engines.triton.choice import (
    OFFLINE_ROWS,
    Hedges,
    PatienceConfig,
    Verdict,
    View,
    failure_of,
    least_outstanding,
    offline_rows,
    patience,
    soonest,
    trusted,
    verdict_of,
)
from cascade_server.engines.triton.health import Health, HealthConfig, answered, failed
from cascade_server.errors import ConfigError, DeadlinePassed, NotReady, ServerError, TooMuch


def view(
    target: str,
    outstanding: float = 0.0,
    underway: int = 0,
    batches: int = 0,
    most: int = 64,
    suspect: bool = False,
    seconds: float = 0.001,
    busy_until: float = 0.0,
) -> View:
    outlook = Outlook(Line(0.0, seconds, 2.0), busy_until, 0, most)
    return View(target, most, underway, outstanding, batches, outlook, suspect)


class TestAddresses:
    """`triton://HOST:PORT[,HOST:PORT...]`."""

    @pytest.mark.parametrize(
        ("runtime", "servers"),
        [
            ("auto", ()),
            ("triton://gpu-1:8001", ("gpu-1:8001",)),
            ("triton://10.0.0.5:8001,10.0.0.6:8001", ("10.0.0.5:8001", "10.0.0.6:8001")),
            ("triton://[::1]:8001/", ("[::1]:8001",)),
        ],
    )
    def test_servers(self, runtime: str, servers: tuple[str, ...]) -> None:
        assert servers_of(runtime) == servers
        assert ServerConfig(runtime=runtime).runtime == runtime

    @pytest.mark.parametrize(
        ("runtime", "words"),
        [
            (
                "gpu",
                "runtime is 'gpu'; allowed: auto, cpu, onnxruntime, cuda, tensorrt-ep, tensorrt and triton://HOST",
            ),
            ("triton://", "runtime names ''; allowed: triton://HOST:PORT"),
            ("triton://gpu-1", "runtime names 'gpu-1'"),
            ("triton://gpu-1:0", "runtime names 'gpu-1:0'"),
            ("tritons://me:secret@gpu-1:1", "runtime names '…@gpu-1:1'"),
            ("triton://gpu-1:70000", "runtime names 'gpu-1:70000'"),
            ("triton://a:1, b:2", "runtime names ' b:2'"),
            ("triton://http://a:1", "runtime names 'http://a:1'"),
            ("triton://a:1,b:2,a:1", "runtime names a:1 twice"),
        ],
    )
    def test_what_is_none(self, runtime: str, words: str) -> None:
        with pytest.raises(ConfigError) as refused:
            ServerConfig(runtime=runtime)
        assert words in str(refused.value)


class TestChoice:
    """The server with the least outstanding work."""

    def test_least_outstanding(self) -> None:
        views = [view("a", 0.2, 1), view("b", 0.1, 1), view("c", 0.3)]
        assert least_outstanding(views, 1) == views[1]

    def test_equals_take_turns(self) -> None:
        views = [view("a", batches=7), view("b", batches=6)]
        assert least_outstanding(views, 1) == views[1]

    def test_one_that_has_its_batches_is_not_given_more(self) -> None:
        views = [view("a", 0.1, 2), view("b", 0.9, 1)]
        assert least_outstanding(views, 1, in_flight=2) == views[1]
        assert least_outstanding(views, 1, in_flight=1) is None

    def test_nor_one_that_takes_fewer_rows_or_was_tried(self) -> None:
        views = [view("a", most=8), view("b", 0.5), view("c", 0.9)]
        assert least_outstanding(views, 9) == views[1]
        assert least_outstanding(views, 9, without={"b"}) == views[2]
        assert least_outstanding(views, 9, without={"b", "c"}) is None

    def test_a_suspect_is_asked_only_if_there_are_no_others(self) -> None:
        suspect, busy = view("a", suspect=True), view("b", 0.9, 2)
        assert trusted([suspect, busy]) == [busy]
        # One gathers rather than ask it.
        assert least_outstanding([suspect, busy], 1, in_flight=2) is None
        assert least_outstanding([suspect], 1, in_flight=2) == suspect
        assert least_outstanding([suspect, busy], 1, without={"b"}) == suspect

    def test_a_prediction_is_of_the_server_that_would_be_done_first(self) -> None:
        views = [view("a", seconds=0.010), view("b", seconds=0.001, busy_until=5.020)]
        # Tails are twice the means here.
        assert soonest(views, 5.0, 1, 1, ahead=0) == pytest.approx(0.020)
        assert soonest(views, 5.015, 1, 1, ahead=0) == pytest.approx(0.007)
        assert soonest([], 5.0, 1, 1, ahead=0) == math.inf

    def test_servers_share_what_waits(self) -> None:
        line = Line(0.001, 0.0, 1.0)
        views = [View(t, 4, 0, 0.0, 0, Outlook(line, 0.0, 0, 4)) for t in "ab"]
        assert soonest(views[:1], 0.0, 2, 1, ahead=6) == pytest.approx(0.008)
        assert soonest(views, 0.0, 2, 1, ahead=6) == pytest.approx(0.005)

    def test_offline_batches_are_short(self) -> None:
        assert offline_rows(Line(0.001, 0.02), 1, 256) == 80
        assert offline_rows(Line(0.001, 0.02), 50, 256) == OFFLINE_ROWS
        assert offline_rows(Line(0.00001, 0.0), 10, 256) == 256
        assert offline_rows(Line(), 10, 256) == 256
        assert offline_rows(Line(0.001, 0.02), 50, 8) == 8


class TestPatience:
    """How long a server is waited for before another one is asked too."""

    CONFIG = PatienceConfig(least=0.05, times=4.0, unknown=2.0)

    @pytest.mark.parametrize(
        ("tail", "other", "remaining", "expected"),
        [
            (0.1, 0.1, math.inf, 0.4),  # several times what was predicted
            (0.001, 0.001, math.inf, 0.05),  # scheduling alone may take so long
            (0.0, 0.0, math.inf, 2.0),  # nothing is known
            (0.010, 0.010, 0.030, 0.017),  # later, and the other one could not make it
            (0.010, 0.010, 0.020, 0.05),  # there is no time for another one: nothing is gained
        ],
    )
    def test_it(self, tail: float, other: float, remaining: float, expected: float) -> None:
        assert patience(tail, other, remaining, self.CONFIG) == pytest.approx(expected)

    def test_not_everything_is_sent_twice(self) -> None:
        hedges = Hedges(saved=2.0)
        for _ in range(2):
            assert hedges.allowed
            hedges = hedges.after_hedge()
        assert not hedges.allowed
        for _ in range(11):
            hedges = hedges.after_batch()
        assert hedges.allowed
        for _ in range(1000):
            hedges = hedges.after_batch()
        assert hedges.saved == hedges.most


class TestVerdicts:
    """What a status says of the server."""

    @pytest.mark.parametrize(
        ("code", "verdict"),
        [
            (grpc.StatusCode.UNAVAILABLE, Verdict.GONE),
            (grpc.StatusCode.CANCELLED, Verdict.GONE),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, Verdict.FULL),
            (grpc.StatusCode.DEADLINE_EXCEEDED, Verdict.SLOW),
            (grpc.StatusCode.NOT_FOUND, Verdict.LACKS),
            (grpc.StatusCode.INTERNAL, Verdict.FAULTY),
            (grpc.StatusCode.INVALID_ARGUMENT, Verdict.FAULTY),
            (grpc.StatusCode.UNKNOWN, Verdict.FAULTY),
        ],
    )
    def test_while_there_is_time(self, code: grpc.StatusCode, verdict: Verdict) -> None:
        assert verdict_of(code, 0.5) is verdict
        assert verdict_of(code, math.inf) is verdict

    @pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
    def test_once_the_deadline_has_passed_nothing_is_said_of_the_server(
        self, code: grpc.StatusCode
    ) -> None:
        assert verdict_of(code, 0.0) is Verdict.LATE

    @pytest.mark.parametrize(
        ("verdict", "kind", "says"),
        [
            (Verdict.GONE, NotReady, "why"),
            (Verdict.LACKS, NotReady, "a:1: why"),
            (Verdict.FULL, TooMuch, "student at a:1: why"),
            (Verdict.SLOW, DeadlinePassed, "student at a:1: why"),
            (Verdict.LATE, DeadlinePassed, "the deadline passed while a:1 had the request"),
            (Verdict.FAULTY, NotReady, "student failed at a:1: why"),
        ],
    )
    def test_who_asked_is_told(self, verdict: Verdict, kind: type[ServerError], says: str) -> None:
        failure = failure_of(verdict, "student", "a:1", "why", 70)
        assert type(failure) is kind
        assert str(failure) == says
        if isinstance(failure, TooMuch):
            assert failure.pushback_ms == 70


class TestHealth:
    """Away at once, asked again after ever longer pauses, there as soon as it answers."""

    CONFIG = HealthConfig(period=1.0, timeout=2.0, first_pause=0.05, most_pause=0.5)

    def test_pauses_double_up_to_the_longest(self) -> None:
        health, now, pauses = answered(0.0, self.CONFIG), 100.0, []
        for _ in range(6):
            health = failed(health, now, self.CONFIG, "gone")
            assert not health.up
            pauses.append(health.next_look - now)
            now = health.next_look
        assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.5, 0.5])

    def test_back(self) -> None:
        health = failed(Health(), 10.0, self.CONFIG, "connection refused")
        assert (health.up, health.why) == (False, "connection refused")
        assert answered(11.0, self.CONFIG) == Health(True, 0, 12.0, "")

    def test_it_may_be_away_for_ever(self) -> None:
        health = Health()
        for _ in range(5000):
            health = failed(health, 0.0, self.CONFIG, "gone")
        assert health.next_look == 0.5
