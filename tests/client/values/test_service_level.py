"""What a server promises and how it keeps it, as values of the SDK."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import grpc
import pytest
from cascade_client import (
    Alert,
    AsyncClient,
    Client,
    LatencyQuantiles,
    ObjectiveKind,
    ServiceClass,
    ServiceLevel,
    Tier,
)
from cascade_client.messages.wire import service_level
from cascade_client.values.service_level import duration, percent
from cascade_proto import synthesis_pb2 as pb

NINES = "people realtime: 99.9 % answered; 99000 of 100000, -900 % of the budget left, page"


@pytest.fixture
def level(client: Client) -> ServiceLevel:
    return client.service_level()


class TestValues:
    """Units are seconds and shares; what does not apply is None."""

    def test_of_the_whole(self, level: ServiceLevel) -> None:
        assert (level.service, level.window) == ("scoring", 2_592_000)
        assert level.since == datetime(2026, 1, 2, 3, 4, 5)
        assert level.alert is Alert.PAGE
        assert dataclasses.replace(level, objectives=level.objectives[1:]).alert is Alert.OK

    def test_of_an_objective(self, level: ServiceLevel) -> None:
        answered, fast, faithful = level.objectives
        assert [each.kind for each in level.objectives] == [
            ObjectiveKind.AVAILABILITY,
            ObjectiveKind.LATENCY,
            ObjectiveKind.FIDELITY,
        ]
        assert (fast.service, faithful.service) == (ServiceClass.REALTIME, ServiceClass.FULL)
        assert (answered.threshold, fast.threshold, faithful.threshold) == (None, 0.05, None)
        assert (answered.tier, fast.tier, faithful.tier) == (None, None, Tier.TEACHER)
        assert (answered.kept, fast.kept, faithful.kept) == (0.99, 0.999, None)
        assert [burn.name for burn in fast.burn_rates] == ["5m", "30m", "1h", "6h", "1d", "3d"]
        assert [each.promise for each in level.objectives] == [
            "99.9 % answered",
            "99 % within 50 ms",
            "50 % by the teacher",
        ]

    def test_of_latencies(self, level: ServiceLevel) -> None:
        assert level.latencies == (
            LatencyQuantiles(
                "people",
                ServiceClass.REALTIME,
                Tier.STUDENT,
                1234,
                {0.5: 0.00031, 0.9: 0.00042, 0.99: 0.00111, 0.999: 0.0052},
            ),
        )

    def test_of_callers_faults(self) -> None:
        """In plain words, whichever a later server may find."""
        message = pb.GetServiceLevelResponse()
        realtime = pb.CLASS_OF_SERVICE_REALTIME
        for fault, calls in ((1, 1), (2, 340), (3, 2), (9, 5)):
            message.caller_faults.add(
                table="people",
                class_of_service=realtime,
                fault=fault,  # type: ignore[arg-type]
                calls=calls,
            )
        found = service_level(message).caller_faults
        assert [str(each) for each in found] == [
            "1 people realtime call given up by the caller before the deadline",
            "340 people realtime calls with less time than an idle server needs",
            "2 people realtime calls that asked for what there is not, or is not allowed",
            "5 people realtime calls unknown",
        ]

    def test_fields_cannot_be_set(self, level: ServiceLevel) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            level.objectives[0].target = 0.5  # type: ignore[misc]

    def test_what_a_later_server_says(self) -> None:
        """A class, a kind or an alert that this client has no name for is no error."""
        message = pb.GetServiceLevelResponse()
        message.objectives.add(class_of_service=9, kind=9, alert=9, target=0.5)  # type: ignore[arg-type]
        (found,) = service_level(message).objectives
        assert (found.service, found.kind, found.alert) == ("unknown",) * 3
        assert found.promise == "50 % unknown"


class TestAsking:
    """Both clients ask with the deadline they are given."""

    async def test_asyncio_gives_the_same(self, target: str, level: ServiceLevel) -> None:
        async with AsyncClient(target, timeout=20) as client:
            assert await client.service_level() == level

    def test_printed(self, level: ServiceLevel) -> None:
        lines = str(level).splitlines()
        assert lines[:2] == ["scoring: error budgets of 30d", f"  {NINES}"]
        assert len(lines) == 4

    def test_a_moment_s_trouble_is_tried_again(
        self, client: Client, service: Any, fault: Any
    ) -> None:
        service.faults.append(fault(grpc.StatusCode.UNAVAILABLE))
        assert client.service_level().service == "scoring"
        assert len(service.requests) == 2

    def test_its_own_timeout(self, client: Client, service: Any) -> None:
        client.service_level(timeout=7)
        # gRPC rounds a deadline up, by a hundredth of it at most.
        assert 6 < service.deadlines[-1] <= 7 * 1.01


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.999, "99.9 %"), (1.0, "100 %"), (0.0, "0 %"), (-0.0001, "0 %"), (-1.25, "-125 %")],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share, 1) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5m"), (3600, "1h"), (259_200, "3d"), (2_592_000, "30d"), (90, "90s"), (0, "0s")],
)
def test_duration(seconds: int, text: str) -> None:
    assert duration(seconds) == text
