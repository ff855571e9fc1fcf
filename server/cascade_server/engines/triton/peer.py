"""One server, as the fleet knows it: whether it is up, what it has, what it is doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle

import grpc
import numpy as np

from cascade_server.engines.latency_model import LatencyModel, Outlook
from cascade_server.engines.teacher import MEASURED_ROWS
from cascade_server.engines.triton.choice import View
from cascade_server.engines.triton.client import Client, Unfit, words_of
from cascade_server.engines.triton.contract import Network, Serves
from cascade_server.engines.triton.health import Health, HealthConfig, answered, failed
from cascade_server.engines.triton.measuring import Measuring
from cascade_server.engines.triton.messages import Batch, WrongAnswer
from cascade_server.terms import Tier

log = logging.getLogger("cascade.server")

# Rows of the first calls, from which a server's speed is learnt, and the teacher's passes in them.
WARM_ROWS = {Tier.STUDENT: (1, 8, 64, 256, 1024), Tier.TEACHER: (1, 16, 64)}
WARM_PASSES = 4
# Seconds for the first call of a model.
WARM_SECONDS = 30.0
# Batches in a row that a model may fail at before it is checked.
MOST_FAULTS = 3


@dataclass(eq=False)
class Underway:
    """A batch that a server has.

    Attributes:
        rows: rows in the batch.
        expected: seconds that the batch was predicted to take.
        until: when it is expected to be done, on the clock of deadlines.
        give_up: fails the batch here at once, because the server is gone.
        alone: no caller waits for it any more, though the server may still have it.
    """

    rows: int
    expected: float
    until: float
    give_up: Callable[[], None]
    alone: bool = False


@dataclass
class Hosted:
    """A network on a server.

    Attributes:
        serves: what the server has of it; None if it may not be asked, see `why`.
        draws, scores: times of passes, and of calls for log-likelihoods.
        underway: batches of it that the server has.
        trial: the batch among them that is only a trial; None if there is none.
        last_done: when it last answered, on the clock of deadlines.
        faults: batches that it has failed at since its last answer.
        measured: when it was last measured without a request.
        sizes: numbers of rows to measure, besides one row.
    """

    serves: Serves | None = None
    why: str = "it has not been looked at yet"
    draws: LatencyModel = field(default_factory=LatencyModel)
    scores: LatencyModel = field(default_factory=LatencyModel)
    underway: set[Underway] = field(default_factory=set)
    trial: Underway | None = None
    last_done: float = 0.0
    faults: int = 0
    measured: float = 0.0
    sizes: Iterator[int] = field(default_factory=lambda: cycle(MEASURED_ROWS))


@dataclass
class Counts:
    """Counts since the start; see `RemoteServerStatistics` of the wire."""

    batches: int = 0
    rows: int = 0
    failures: int = 0
    failovers: int = 0
    hedges: int = 0
    times_away: int = 0


class Peer:
    """A server that runs networks.

    Args:
        target: HOST:PORT.
        config: how to monitor it.
        clock: monotonic seconds, the clock of deadlines.
        measuring: how often to measure networks without a request.
        credentials: TLS credentials; None for a connection without TLS.
    """

    def __init__(
        self,
        target: str,
        config: HealthConfig,
        clock: Callable[[], float],
        measuring: Measuring = Measuring(),  # noqa: B008 (frozen)
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.target, self._config, self._clock = target, config, clock
        self._measuring = measuring
        self.client = Client(target, credentials)
        self.health = Health()
        self.counts = Counts()
        self.networks: dict[Network, Hosted] = {}
        # Whether a batch was given up there, and the server has answered nothing since.
        self.suspect = False
        self.look_soon = asyncio.Event()

    def wants(self, network: Network) -> None:
        """Add a network to ask the server for, once it has been seen to have it."""
        if network not in self.networks:
            self.networks[network] = Hosted()
            self._look_at(self._clock())

    def hosted(self, network: Network) -> Hosted:
        """Return what is known of a network that was added with `wants`."""
        return self.networks[network]

    @property
    def outstanding(self) -> float:
        """Sum the predicted seconds of the batches that the server has."""
        return sum(each.expected for hosted in self.networks.values() for each in hosted.underway)

    def why(self, network: Network) -> str:
        """Return why the server may not be asked for a network."""
        return self.health.why if not self.health.up else self.hosted(network).why

    def view(self, network: Network, score: bool = False) -> View | None:
        """Return the server as seen by `choice`; None if it cannot be asked for the network."""
        hosted = self.networks.get(network)
        if not self.health.up or hosted is None or hosted.serves is None:
            return None
        if score and not hosted.serves.scores:
            return None
        model = hosted.scores if score else hosted.draws
        now = self._clock()
        rest = sum(max(0.0, each.until - now) for each in hosted.underway)
        most = hosted.serves.most
        outlook = Outlook(model.line, now + rest, 0, most)
        return View(
            self.target,
            most,
            len(hosted.underway),
            self.outstanding,
            self.counts.batches,
            outlook,
            self.suspect,
        )

    def begins(
        self, network: Network, batch: Batch, give_up: Callable[[], None]
    ) -> tuple[Underway, float]:
        """Note that a batch is sent; return it and its .99 quantile of seconds.

        The seconds include those of the batches before it.
        """
        hosted, now = self.hosted(network), self._clock()
        model = hosted.draws if batch.noise is not None else hosted.scores
        rest = sum(max(0.0, each.until - now) for each in hosted.underway)
        expected = batch.steps * model.mean(batch.rows)
        underway = Underway(batch.rows, expected, now + rest + expected, give_up)
        hosted.underway.add(underway)
        tail = model.tail(batch.rows, batch.steps)
        return underway, rest + tail if tail > 0 else 0.0

    def leaves_alone(self, underway: Underway) -> None:
        """Note that no caller waits for a batch; the server stays busy until it ends there."""
        underway.alone = True

    def ends(self, network: Network, underway: Underway) -> None:
        """Note that the server no longer has a batch, however it ended."""
        if network in self.networks:  # a release may have been removed meanwhile
            hosted = self.hosted(network)
            hosted.underway.discard(underway)
            if hosted.trial is underway:
                hosted.trial = None
            if underway.alone:
                # The next batch has waited for this one.
                hosted.last_done = self._clock()

    def did(self, network: Network, batch: Batch, sent: float) -> float:
        """Note that a batch sent at `sent` was answered now; return the seconds that it took."""
        hosted, now = self.hosted(network), self._clock()
        hosted.faults, self.suspect = 0, False
        self.counts.batches += 1
        self.counts.rows += batch.rows
        elapsed = max(now - sent, 1e-6)
        # The batch waited until the one before it was done; but a server may run two at once.
        seconds = max(now - max(sent, hosted.last_done), elapsed / 2)
        hosted.last_done = now
        model = hosted.draws if batch.noise is not None else hosted.scores
        model.observe(batch.rows, seconds / batch.steps)
        return seconds

    def faulty(self, network: Network, why: str) -> None:
        """Note that the model failed at a batch; after several in a row it is checked first."""
        hosted = self.hosted(network)
        hosted.faults += 1
        if hosted.faults >= MOST_FAULTS:
            self.lacks(network, why)

    def lacks(self, network: Network, why: str) -> None:
        """Stop asking the server for a network until it has been checked."""
        hosted = self.hosted(network)
        if hosted.serves is not None:
            log.warning("%s: %s is not asked any more: %s", self.target, network, why)
        hosted.serves, hosted.why = None, why
        self._look_at(self._clock() + self._config.first_pause)

    def hangs(self) -> None:
        """Note that a batch was given up: the server is asked last, and checked now."""
        self.suspect = True
        self._look_at(self._clock())

    def _look_at(self, when: float) -> None:
        self.health = replace(self.health, next_look=min(when, self.health.next_look))
        self.look_soon.set()

    def gone(self, why: str) -> None:
        """Note that the server is down; its batches fail here at once."""
        if self.health.up:
            self.counts.times_away += 1
            log.warning("%s is away: %s", self.target, why)
        self.health = failed(self.health, self._clock(), self._config, why)
        self.look_soon.set()
        for hosted in self.networks.values():
            for each in list(hosted.underway):
                each.give_up()

    async def look(self, timeout: float | None = None) -> None:
        """Check whether the server is up and has what it should; if so, use it again.

        Args:
            timeout: seconds for each of the calls of the check; None for the configured time.
        """
        config, was_up = self._config, self.health.up
        timeout = config.timeout if timeout is None else timeout
        try:
            if not await self.client.ready(timeout):
                self.gone("it says that it is not ready")
                return
            await self.client.meet(timeout)
            for network, hosted in list(self.networks.items()):
                if was_up and hosted.serves is not None:
                    if not await self.client.model_ready(network, timeout):
                        self.lacks(network, f"{network} is not ready there")
                else:
                    await self._take(network, hosted, timeout)
        except grpc.aio.AioRpcError as exc:
            self.gone(words_of(exc))
            return
        except TimeoutError as exc:
            self.gone(str(exc))
            return
        self.health, self.suspect = answered(self._clock(), config), False
        if not was_up and self.counts.times_away:
            log.warning("%s is back", self.target)

    async def _take(self, network: Network, hosted: Hosted, timeout: float) -> None:
        """Check a network and have it draw rows; then it may be asked."""
        hosted.serves = None
        try:
            found = await self.client.examine(network, timeout)
            await self._try(network, nothing_known(network, 1, 1))
            if not hosted.draws.known:
                await self._learn(network, hosted.draws, found.most)
        except (Unfit, WrongAnswer) as exc:
            hosted.why = str(exc)
        except TimeoutError as exc:
            # A server that answers everything else is up.
            if not self.health.up:
                raise
            hosted.why = str(exc)
        except grpc.aio.AioRpcError as exc:
            if exc.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            hosted.why = f"{network} failed at its first row: {words_of(exc)}"
        else:
            hosted.serves, hosted.why, hosted.faults = found, "", 0
            hosted.measured = self._clock()

    async def _learn(self, network: Network, model: LatencyModel, most: int) -> None:
        """Learn from a few calls how long the network takes here."""
        passes = min(WARM_PASSES, network.passes)
        for rows in (rows for rows in WARM_ROWS[network.tier] if rows <= most):
            batch = nothing_known(network, rows, passes)
            for _ in range(2):  # the first call of a size may include one-time work
                began = self._clock()
                await self._try(network, batch)
            model.observe(rows, max(self._clock() - began, 1e-6) / passes)

    async def measure(self) -> None:
        """Measure networks that have not been asked for a while.

        Otherwise a server that was slow once would get no requests again. Whatever the result, only
        `look` decides whether the server is up.
        """
        for network, hosted in list(self.networks.items()):
            last = max(hosted.measured, hosted.last_done)
            if self._measuring.is_due(self._clock(), last) and self._is_free(network, hosted):
                hosted.measured = self._clock()
                await self._measure(network, hosted)

    def _is_free(self, network: Network, hosted: Hosted) -> bool:
        """Return whether the server still has the network and is idle.

        Then a measurement delays no request, and no request distorts it.
        """
        is_served = self.networks.get(network) is hosted and hosted.serves is not None
        return is_served and self.health.up and not self.outstanding and hosted.trial is None

    async def _measure(self, network: Network, hosted: Hosted) -> None:
        for rows in (1, next(hosted.sizes)):
            if hosted.serves is None or not self._is_free(network, hosted):
                return
            rows, began = min(rows, hosted.serves.most), self._clock()
            try:
                await self._try(network, nothing_known(network, rows, 1))
            except TimeoutError:
                pass  # The timeout is a lower bound of its time.
            except WrongAnswer as exc:
                if self.networks.get(network) is hosted:
                    self.lacks(network, str(exc))
                return
            except grpc.aio.AioRpcError as exc:
                if exc.code() is grpc.StatusCode.UNAVAILABLE:
                    self._look_at(self._clock())
                    return
                if exc.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    if self.networks.get(network) is hosted:
                        self.faulty(network, words_of(exc))
                    return
            hosted.draws.observe(rows, max(self._clock() - began, 1e-6))

    async def _try(self, network: Network, batch: Batch) -> None:
        """Run a network without a request, but not before the last such call has ended there.

        Raises:
            TimeoutError: the call takes too long.
        """
        hosted = self.hosted(network)
        if hosted.trial is None:
            trial, _ = self.begins(network, batch, lambda: None)
            hosted.trial = trial
            ended = partial(self.ends, network, trial)
            with suppress(TimeoutError):
                async with asyncio.timeout(WARM_SECONDS):
                    await self.client.infer(network, batch, WARM_SECONDS, ended=ended)
                    return
            self.leaves_alone(trial)
        raise TimeoutError(f"{network} has not answered what it was tried with")


def nothing_known(network: Network, rows: int, steps: int) -> Batch:
    """Return rows without known columns, to try a network with."""
    shape = rows, network.slots
    noise = np.full((rows, network.noise), 0.5, np.float32)
    return Batch(np.zeros(shape, np.int32), np.zeros(shape, bool), noise, steps)
