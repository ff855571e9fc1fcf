"""Servers that a cancelled call could end: calls that nobody waits for are left alone there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from cascade_proto import inference_pb2 as pb
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.engines.triton.health import HealthConfig
from cascade_server.engines.triton.peer import Peer, nothing_known
from cascade_server.errors import DeadlinePassed
from cascade_server.terms import Tier

from tests.server.engines.triton.asked import (
    ask_in_turn,
    check,
    counted,
    give_up,
    hold,
    networks,
    soon,
    task,
    two,
    until,
)
from tests.server.engines.triton.fakes import FakeServer, Gate, fleet_of


def fragile(runtime: Runtime) -> FakeServer:
    """As a Triton whose front end has the races."""
    server = FakeServer(networks(runtime))
    server.name, server.version = "triton", "2.51.0"
    return server


async def one_more(runtime: Runtime, fleet: Fleet, server: FakeServer) -> asyncio.Task[float]:
    """Ask a server that keeps what it gets; by then it has seen all that was sent before."""
    seen = len(server.asked)
    asked = asyncio.create_task(fleet.student(runtime).submit(task(runtime), soon()))
    await until(lambda: len(server.asked) > seen)
    return asked


class TestNobodyWaits:
    """Who waited is told at once; the server is not, and is busy until it is done."""

    async def test_another_one_was_faster(self, runtime: Runtime) -> None:
        servers, gate = (fragile(runtime), fragile(runtime)), Gate()
        async with fleet_of(runtime, *servers) as fleet:
            servers[0].does, student = gate, fleet.student(runtime)
            await ask_in_turn(runtime, fleet)
            busy = counted(fleet, servers[0])
            assert busy.outstanding_batches == gate.inside >= busy.hedges >= 1
            gate.open.set()
            await until(lambda: counted(fleet, servers[0]).outstanding_batches == 0)
            assert gate.cancelled == 0
            # What came too late has been used for nothing.
            assert counted(fleet, servers[0]).batches == busy.batches
            assert student.statistics().runs == 6

    async def test_the_deadline_passes(self, runtime: Runtime) -> None:
        server, gate = fragile(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does, student = gate, fleet.student(runtime)
            near = time.monotonic() + 0.05
            with pytest.raises(DeadlinePassed, match=f"while {server.target} had the request"):
                await student.submit(task(runtime), near)
            assert time.monotonic() >= near
            other = await one_more(runtime, fleet, server)
            assert (gate.inside, counted(fleet, server).outstanding_batches) == (2, 2)
            gate.open.set()
            await other
            await until(lambda: counted(fleet, server).outstanding_batches == 0)
            assert gate.cancelled == 0

    async def test_the_caller_gives_up(self, runtime: Runtime) -> None:
        server, gate = fragile(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            (held,) = await hold(runtime, fleet, [gate], each=1)
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held
            other = await one_more(runtime, fleet, server)
            assert (gate.inside, counted(fleet, server).outstanding_batches) == (2, 2)
            gate.open.set()
            await other
            await until(lambda: counted(fleet, server).outstanding_rows == 0)
            assert gate.cancelled == 0

    async def test_no_more_are_left_than_a_server_may_have(self, runtime: Runtime) -> None:
        """Until it is done with those, what comes waits in the queue."""
        server, gate = fragile(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does, student = gate, fleet.student(runtime)
            for held in await hold(runtime, fleet, [gate]):
                held.cancel()
            with pytest.raises(DeadlinePassed, match="in the queue"):
                await student.submit(task(runtime), time.monotonic() + 0.05)
            done = task(runtime, seed=9)
            waiting = asyncio.create_task(student.submit(done, soon()))
            await until(lambda: student.statistics().waiting == 1)
            assert len(server.asked) == 2
            gate.open.set()
            await waiting
            check(runtime, done)
            assert gate.cancelled == 0

    async def test_their_time_is_not_put_down_to_who_comes_after(self, runtime: Runtime) -> None:
        """The clock is set; the batch after one that is left alone waits until that is done."""
        at = [100.0]
        peer = Peer("127.0.0.1:1", HealthConfig(), lambda: at[0])
        network = Network.of_release(runtime, Tier.STUDENT)
        peer.wants(network)
        batch = nothing_known(network, 1, 1)
        (left, _), (after, _) = (peer.begins(network, batch, lambda: None) for _ in range(2))
        at[0] += 10
        peer.leaves_alone(left)
        peer.ends(network, left)
        at[0] += 6
        peer.ends(network, after)
        # Half of all 16 at least: a server may do two at once.
        assert peer.did(network, batch, 100.0) == 8
        await peer.client.close()


class TestTheServerHangs:
    """Away, then back: what it had is left alone too, and what it then answers is dropped."""

    async def test_it_goes_on(self, runtime: Runtime) -> None:
        servers, gates, silence = (fragile(runtime), fragile(runtime)), [Gate(), Gate()], Gate()
        honest = servers[0].ServerReady

        async def silent(request: Any, context: Any) -> pb.ServerReadyResponse:
            if gates[0].inside:
                await silence(request, context)
            return await honest(request, context)

        servers[0].ServerReady = silent  # type: ignore[method-assign]
        async with fleet_of(runtime, *servers, patience=0.5) as fleet:
            for server, gate in zip(servers, gates, strict=True):
                server.does = gate
            held = await hold(runtime, fleet, gates)
            await until(lambda: not counted(fleet, servers[0]).up)
            assert gates[0].inside == counted(fleet, servers[0]).outstanding_batches == 2
            gates[1].open.set()
            await asyncio.gather(*held)
            assert gates[0].cancelled == 0
            gates[0].open.set()
            silence.open.set()
            await until(lambda: counted(fleet, servers[0]).up)
            assert counted(fleet, servers[0]).outstanding_batches == 0
            assert (gates[0].cancelled, counted(fleet, servers[0]).failures) == (0, 2)

    async def test_its_model_is_not_tried_again_before_it_has_answered(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cascade_server.engines.triton.peer.WARM_SECONDS", 0.02)
        server, gate, looks = fragile(runtime), Gate(), 0
        server.does, honest = gate, server.ServerReady

        async def counts(request: Any, context: Any) -> pb.ServerReadyResponse:
            nonlocal looks
            looks += 1
            return await honest(request, context)

        server.ServerReady = counts  # type: ignore[method-assign]
        async with fleet_of(runtime, server, strict=False) as fleet:
            await until(lambda: looks > 5)
            assert "payments_student version 3 has not answered" in counted(fleet, server).reason
            assert gate.inside == counted(fleet, server).outstanding_batches == 1
            monkeypatch.undo()
            gate.open.set()
            await until(lambda: counted(fleet, server).up and not counted(fleet, server).reason)
            assert gate.cancelled == 0

    async def test_its_deadline_is_far_and_its_timeout_is_the_callers(
        self, runtime: Runtime
    ) -> None:
        """gRPC's deadline, which cancels, is to pass long after a server that hung goes on."""
        server, seen = fragile(runtime), []

        async def notes(request: pb.ModelInferRequest, context: Any) -> None:
            seen.append((context.time_remaining(), request.parameters["timeout"].int64_param))

        async with fleet_of(runtime, server) as fleet:
            server.does = notes
            await fleet.student(runtime).submit(task(runtime), time.monotonic() + 5)
        ((remaining, timeout),) = seen
        assert timeout <= 5e6
        assert 500 < remaining < 1000


class TestTheEnd:
    """Hanging up cancels too."""

    async def test_what_is_left_alone_is_waited_for(self, runtime: Runtime) -> None:
        server, gate = fragile(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            for held in await hold(runtime, fleet, [gate]):
                held.cancel()
            stopping = asyncio.create_task(fleet.stop())
            done, _ = await asyncio.wait([stopping], timeout=0.1)
            assert not done
            gate.open.set()
            await stopping
            assert gate.cancelled == 0

    async def test_but_not_for_ever(
        self,
        runtime: Runtime,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("cascade_server.engines.triton.client.CLOSE_SECONDS", 0.02)
        server, gate = fragile(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            for held in await hold(runtime, fleet, [gate]):
                held.cancel()
            await fleet.stop()
            assert (
                f"{server.target} has 2 calls unanswered, which hanging up cancels" in caplog.text
            )


class TestWho:
    """Servers that cancelling does no harm are told; who it is is seen whenever it is looked at."""

    @pytest.mark.parametrize(
        ("name", "version"), [("triton", "2.59.0"), ("cascade", "0.1.0"), ("fake", "1.0")]
    )
    async def test_they_are_told(self, runtime: Runtime, name: str, version: str) -> None:
        (server, _), gate = two(runtime), Gate()
        server.name, server.version = name, version
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            await give_up(runtime, fleet, gate)
            assert counted(fleet, server).outstanding_rows == 0

    async def test_so_is_one_that_does_not_say_who_it_is(self, runtime: Runtime) -> None:
        (server, _), gate = two(runtime), Gate()
        server.name = None
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            await give_up(runtime, fleet, gate)

    async def test_one_comes_back_as_another_version(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        server, gate = fragile(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            assert f"{server.target} is Triton 2.51.0" in caplog.text
            await server.stop()
            await until(lambda: not counted(fleet, server).up)
            server.version = "2.60.0"
            await server.start()
            await until(lambda: counted(fleet, server).up)
            server.does = gate
            await give_up(runtime, fleet, gate)
