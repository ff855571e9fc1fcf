"""The servers that run the networks: monitored, checked against the releases, counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton.batches import Batches
from cascade_server.engines.triton.choice import Hedges, View
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.health import HealthConfig
from cascade_server.engines.triton.measuring import Measuring
from cascade_server.engines.triton.peer import Peer
from cascade_server.engines.triton.tiers import TritonStudent, TritonTeacher
from cascade_server.errors import ConfigError
from cascade_server.terms import Tier
from cascade_server.wire.model_tensors import LOG_LIKELIHOOD

log = logging.getLogger("cascade.server")

# Seconds for each call of the first check.
START_SECONDS = 5.0


class Fleet:
    """Runs releases' networks on other servers; create and use it in one event loop.

    Attributes:
        hedges: how many batches may be sent twice.

    Args:
        targets: HOST:PORT of each server.
        config: how to monitor the servers.
        clock: monotonic seconds, the clock of deadlines.
        measuring: how often to measure idle networks, if there are several workers; None for one
            worker.
        credentials: TLS credentials; None for connections without TLS.
    """

    def __init__(
        self,
        targets: Sequence[str],
        config: HealthConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        measuring: Measuring | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._config, self._clock = config or HealthConfig(), clock
        self._peers = {
            target: Peer(target, self._config, clock, measuring or Measuring(), credentials)
            for target in targets
        }
        self._batches: dict[Network, Batches] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.hedges = Hedges()

    async def start(self, runtimes: Iterable[Runtime], strict: bool = True) -> None:
        """Check what the servers have, learn how fast they are, and monitor them from then on.

        Args:
            runtimes: releases whose networks are needed.
            strict: whether a server must be up now; a worker that is restarted waits for one
                instead.

        Raises:
            ConfigError: no server is up, or one does not have what a release needs.
        """
        for runtime in runtimes:
            self.expect(runtime)
        peers = list(self._peers.values())
        await asyncio.gather(*(peer.look(START_SECONDS) for peer in peers))
        if strict:
            self._check()
        for peer in peers:
            if not peer.health.up:
                log.warning("%s is away: %s; it is asked again", peer.target, peer.health.why)
        self._tasks = [
            asyncio.create_task(work(peer))
            for peer in peers
            for work in (self._look_after, self._measure)
        ]

    async def stop(self) -> None:
        """Close the connections; calls in progress are dropped."""
        for task in self._tasks:
            task.cancel()
        for batches in self._batches.values():
            batches.close()
        await asyncio.gather(*(peer.client.close() for peer in self._peers.values()))

    def expect(self, runtime: Runtime) -> None:
        """Add a release: servers are asked for its networks once they have been checked."""
        for tier in Tier:
            network = Network.of_release(runtime, tier)
            self._batches.setdefault(network, Batches(self, network))
            for peer in self._peers.values():
                peer.wants(network)

    def forget(self, runtime: Runtime) -> None:
        """Remove a release; its calls in progress are dropped."""
        for tier in Tier:
            network = Network.of_release(runtime, tier)
            if (batches := self._batches.pop(network, None)) is not None:
                batches.close()
            for peer in self._peers.values():
                peer.networks.pop(network, None)

    def student(self, runtime: Runtime) -> TritonStudent:
        """Return a release's student for the dispatcher; rows go to the servers that run it."""
        self.expect(runtime)
        return TritonStudent(self._batches[Network.of_release(runtime, Tier.STUDENT)])

    def teacher(self, runtime: Runtime) -> TritonTeacher:
        """Return a release's teacher for the dispatcher; passes run on the servers."""
        self.expect(runtime)
        network = Network.of_release(runtime, Tier.TEACHER)
        away, scores = partial(self.away, network), partial(self._no_scores, network)
        return TritonTeacher(self._batches[network], away, scores)

    def views(self, network: Network, score: bool = False) -> list[View]:
        """Return the servers that may be asked for a network, or for its log-likelihoods."""
        found = (peer.view(network, score) for peer in self._peers.values())
        return [view for view in found if view is not None]

    def peer(self, target: str) -> Peer:
        """Return a server by its target."""
        return self._peers[target]

    def away(self, network: Network) -> str:
        """Return why no server may be asked for a network, by server."""
        why = "; ".join(f"{peer.target}: {peer.why(network)}" for peer in self._peers.values())
        return f"no server can be asked for {network}: {why}"

    def describe(self, out: pb.GetStatisticsResponse) -> None:
        """Add the counts of each server."""
        for peer in self._peers.values():
            underway = [each for hosted in peer.networks.values() for each in hosted.underway]
            unasked = [hosted.why for hosted in peer.networks.values() if hosted.serves is None]
            counts, up = peer.counts, peer.health.up
            out.servers.add(
                target=peer.target,
                up=up,
                reason="; ".join(unasked) if up else peer.health.why,
                outstanding_batches=len(underway),
                outstanding_rows=sum(each.rows for each in underway),
                batches=counts.batches,
                rows=counts.rows,
                failures=counts.failures,
                failovers=counts.failovers,
                hedges=counts.hedges,
                times_away=counts.times_away,
            )

    def _no_scores(self, network: Network) -> str | None:
        """Return why the servers that are up give no log-likelihoods; None if they do."""
        if self.views(network, score=True) or not self.views(network):
            return None
        return (
            f"{network} gives no log-likelihoods on the servers that run it: there it has no "
            f"output {LOG_LIKELIHOOD!r}, FP64 [n, 1]"
        )

    def _check(self) -> None:
        there = [peer for peer in self._peers.values() if peer.health.up]
        if not there:
            why = "; ".join(f"{peer.target}: {peer.health.why}" for peer in self._peers.values())
            raise ConfigError(f"runtime: no server can be reached: {why}")
        wrong = [
            f"{peer.target}: {hosted.why}"
            for peer in there
            for hosted in peer.networks.values()
            if hosted.serves is None
        ]
        if wrong:
            what = "runtime: what runs there does not fit what is to be served"
            raise ConfigError("\n  ".join((what, *wrong)))

    async def _look_after(self, peer: Peer) -> None:
        """Check a server again and again."""
        while True:
            while (left := peer.health.next_look - self._clock()) > 0:
                try:
                    async with asyncio.timeout(left):
                        await peer.look_soon.wait()
                except TimeoutError:
                    break
                peer.look_soon.clear()
                # A waiting request may have become impossible to answer, or have lost its server.
                self._come_round()
            try:
                await peer.look()
            except Exception as exc:  # a defect, which must not end the monitoring
                log.exception("looking at %s failed", peer.target)
                peer.gone(repr(exc))
            self._come_round()

    async def _measure(self, peer: Peer) -> None:
        """Measure a server's networks again and again, apart from checking whether it is up."""
        while True:
            await asyncio.sleep(self._config.period)
            try:
                await peer.measure()
            except Exception:  # a defect, which must not end the measuring
                log.exception("measuring %s failed", peer.target)
            self._come_round()

    def _come_round(self) -> None:
        for batches in self._batches.values():
            batches.come_round()
