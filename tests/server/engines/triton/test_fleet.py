"""A fleet at its start, and releases that come and go while it runs."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import grpc
import pytest
from cascade_server.engines.latency_model import LatencyModel
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton import peer as peers
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.engines.triton.measuring import Measuring
from cascade_server.errors import ConfigError
from cascade_tables import load_release

from tests.releases import TABLE
from tests.server.engines.triton.asked import counted, networks, soon, task, two, until
from tests.server.engines.triton.fakes import FakeServer, Gate, fleet_of, refuses

# Whenever there is nothing else to do.
ALWAYS = Measuring(seconds=0.0)


class TestStart:
    """What is wrong is said at once, with the server, the model, what was found and is needed."""

    async def refusal(self, runtime: Runtime, *servers: FakeServer) -> str:
        with pytest.raises(ConfigError) as refused:
            async with fleet_of(runtime, *servers):
                pass
        return str(refused.value)

    async def test_a_model_is_missing(self, runtime: Runtime) -> None:
        student, _ = networks(runtime)
        server = FakeServer([student])
        said = await self.refusal(runtime, server)
        assert (
            f"{server.target}: model 'payments_teacher' is missing; the models there are: "
            "payments_student"
        ) in said

    async def test_one_of_two_has_it(self, runtime: Runtime) -> None:
        student, _ = networks(runtime)
        good, _ = two(runtime)
        bad = FakeServer([student])
        said = await self.refusal(runtime, good, bad)
        assert f"{bad.target}: model 'payments_teacher'" in said
        assert good.target not in said

    async def test_a_version_is_missing(self, runtime: Runtime, repository: Path) -> None:
        older = Runtime(load_release(repository, TABLE, 1), tiers=())
        said = await self.refusal(runtime, FakeServer(networks(older)))
        assert "model 'payments_student' has no version 3, the release's; its versions" in said

    async def test_shapes_are_of_another_release(self, runtime: Runtime) -> None:
        wrong = [
            Network(n.table, n.tier, n.version, n.sizes[:-1], n.noise, n.passes)
            for n in networks(runtime)
        ]
        said = await self.refusal(runtime, FakeServer(wrong))
        slots = runtime.slots
        assert (
            f"has input 'tokens' as INT32 [n, {slots - 1}]; the release's: INT32 [n, {slots}]"
            in (said)
        )

    async def test_a_model_fails_at_its_first_row(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        server.does = refuses(grpc.StatusCode.INTERNAL, "no such file")
        said = await self.refusal(runtime, server)
        assert "payments_student version 3 failed at its first row: no such file (INTERNAL)" in said

    async def test_nobody_is_there(self, runtime: Runtime) -> None:
        fleet = Fleet(["127.0.0.1:1"])
        with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1: connection refused"):
            await fleet.start([runtime])
        await fleet.stop()

    async def test_one_of_two_is_there(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        server, _ = two(runtime)
        await server.start()
        fleet = Fleet([server.target, "127.0.0.1:1"])
        await fleet.start([runtime])
        assert "127.0.0.1:1 is away: connection refused" in caplog.text
        await fleet.student(runtime).submit(task(runtime), soon())
        await fleet.stop()
        await server.stop()

    async def test_who_is_started_again_waits_for_one(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        await server.start()
        await server.stop()
        fleet = Fleet([server.target])
        await fleet.start([runtime], strict=False)
        assert math.isinf(fleet.student(runtime).predict(1))
        await server.start()
        await until(lambda: not math.isinf(fleet.student(runtime).predict(1)))
        await fleet.stop()
        await server.stop()


class TestMeasuring:
    """A server that was slow once is not taken to be slow for ever."""

    async def test_what_it_takes_is_looked_at_again(self, runtime: Runtime) -> None:
        """AUTO sends nobody to a network that is predicted to be late."""
        server, _ = two(runtime)
        async with fleet_of(runtime, server, measuring=ALWAYS) as fleet:
            _, network = networks(runtime)
            hosted = fleet.peer(server.target).hosted(network)
            for _ in range(1000):
                hosted.draws.observe(1, 60.0)
            assert fleet.teacher(runtime).predict(1, 1) > 30
            await until(lambda: fleet.teacher(runtime).predict(1, 1) < 30)

    async def test_one_that_fails_at_it_stays(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        async with fleet_of(runtime, server, measuring=ALWAYS) as fleet:
            server.does = refuses(grpc.StatusCode.INTERNAL)
            await until(lambda: bool(counted(fleet, server).reason))
            assert fleet.peer(server.target).health.up

    async def test_one_that_is_late_at_it_is_slow_and_not_away(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server, _ = two(runtime)
        async with fleet_of(runtime, server) as fleet:
            peer = fleet.peer(server.target)
            monkeypatch.setattr(peers, "WARM_SECONDS", 0.01)
            student, _ = networks(runtime)
            hosted, gate = peer.hosted(student), Gate()
            server.does = gate
            # What it took at the start would outweigh it.
            hosted.draws, peer._measuring = LatencyModel(), ALWAYS
            await until(lambda: hosted.draws.mean(1) >= 0.01)
            assert (peer.health.up, peer.counts.times_away) == (True, 0)
            gate.open.set()

    async def test_whether_it_is_there_is_looked_at_meanwhile(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        async with fleet_of(runtime, server, measuring=ALWAYS) as fleet:
            gate = Gate()
            server.does = gate
            await until(lambda: gate.inside == 1)
            server.ready = False
            await until(lambda: not fleet.peer(server.target).health.up)
            gate.open.set()


class TestWhoMeasures:
    """Of several workers, each in its turn."""

    def test_one_alone_after_its_pause(self) -> None:
        measuring = Measuring(seconds=20.0)
        assert not measuring.is_due(124.9, 105.0)
        assert measuring.is_due(125.0, 105.0)

    @pytest.mark.parametrize("workers", [1, 3, 8])
    def test_all_as_often_as_one_alone(self, workers: int) -> None:
        all_measuring = [Measuring(workers, number, 20.0) for number in range(workers)]
        last, times = [0.0] * workers, []
        for second in range(1600):
            for number, measuring in enumerate(all_measuring):
                if measuring.is_due(second, last[number]):
                    last[number] = second
                    times.append(second)
        assert abs(len(times) - 1600 / 20) <= workers
        # Not at once, and each of them.
        assert len(set(times)) == len(times)
        assert min(last) > 1600 - 20 * workers - 20


class TestReleases:
    """Releases that come and go while it runs."""

    async def test_one_comes_and_goes(self, runtime: Runtime, repository: Path) -> None:
        other = Runtime(load_release(repository, "shops", 1), tiers=())
        server = FakeServer([*networks(runtime), *networks(other)])
        async with fleet_of(runtime, server) as fleet:
            student = fleet.student(other)
            assert "not been looked at" in counted(fleet, server).reason
            await until(lambda: not counted(fleet, server).reason)
            await student.submit(task(other), soon())
            gate = Gate()
            server.does = gate
            held = asyncio.create_task(student.submit(task(other), soon()))
            await until(lambda: gate.inside == 1)
            fleet.forget(other)
            await until(lambda: gate.cancelled == 1)
            held.cancel()
            server.does = refuses(grpc.StatusCode.INTERNAL)
            assert "shops" not in counted(fleet, server).reason
