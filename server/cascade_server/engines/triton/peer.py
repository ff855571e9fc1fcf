"""One server, as the fleet knows it: whether it is there, what it has, what it is doing."""

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

# Rows of the calls that a server is learnt from at the start, and the teacher's passes in them.
WARM_ROWS = {Tier.STUDENT: (1, 8, 64, 256, 1024), Tier.TEACHER: (1, 16, 64)}
WARM_PASSES = 4
# Seconds that the first call of a model may take.
WARM_SECONDS = 30.0
# Batches in a row at which a model may fail before it is looked at.
MOST_FAULTS = 3


@dataclass(eq=False)
class Underway:
    """A batch that a server has.

    Attributes:
        rows: in it.
        expected: seconds that it was predicted to take.
        until: when it is expected to be done, on the clock of deadlines.
        give_up: has it fail here at once, because the server is gone.
        alone: nobody waits for it any more, though the server may still have it.
    """

    rows: int
    expected: float
    until: float
    give_up: Callable[[], None]
    alone: bool = False


@dataclass
class Hosted:
    """A network at a server.

    Attributes:
        serves: what the server has of it; None: it is not to be asked for it, see `why`.
        draws, scores: what passes have taken, and calls for log-likelihoods.
        underway: batches that it has.
        trial: one of them, by which it is tried; None: it is not.
        last_done: when it last answered, on the clock of deadlines.
        faults: batches that it has failed at since it last answered one.
        measured: when it was last asked for nobody, to see what that takes.
        sizes: rows that it is to be asked for then, beside one.
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
    """Since the start; see `RemoteServerStatistics` of the wire."""

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
        config: of looking after it.
        clock: monotonic seconds, the same as deadlines'.
        measuring: how often networks are asked for nobody.
        credentials: of TLS; None: it is asked in the clear.
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
        # It has been given up on, and has not answered anything since.
        self.suspect = False
        self.look_soon = asyncio.Event()

    def wants(self, network: Network) -> None:
        """It is to be asked for a network, once it has been seen to have it."""
        if network not in self.networks:
            self.networks[network] = Hosted()
            self._look_at(self._clock())

    def hosted(self, network: Network) -> Hosted:
        """What is known of a network on this server, which it has been asked to host."""
        return self.networks[network]

    @property
    def outstanding(self) -> float:
        """Seconds that what it has was predicted to take."""
        return sum(each.expected for hosted in self.networks.values() for each in hosted.underway)

    def why(self, network: Network) -> str:
        """It is not asked for a network."""
        return self.health.why if not self.health.up else self.hosted(network).why

    def view(self, network: Network, score: bool = False) -> View | None:
        """It, as far as choosing goes; None: it cannot be asked for the network."""
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
        """A batch is sent; returns it, and the .99 quantile of its seconds, those before it too."""
        hosted, now = self.hosted(network), self._clock()
        model = hosted.draws if batch.noise is not None else hosted.scores
        rest = sum(max(0.0, each.until - now) for each in hosted.underway)
        expected = batch.steps * model.mean(batch.rows)
        underway = Underway(batch.rows, expected, now + rest + expected, give_up)
        hosted.underway.add(underway)
        tail = model.tail(batch.rows, batch.steps)
        return underway, rest + tail if tail > 0 else 0.0

    def leaves_alone(self, underway: Underway) -> None:
        """Nobody waits for a batch any more; the server is busy with it until it ends there."""
        underway.alone = True

    def ends(self, network: Network, underway: Underway) -> None:
        """A batch is no longer there, however it ended."""
        if network in self.networks:  # a release may have been taken away meanwhile
            hosted = self.hosted(network)
            hosted.underway.discard(underway)
            if hosted.trial is underway:
                hosted.trial = None
            if underway.alone:
                # What comes after it has waited for it.
                hosted.last_done = self._clock()

    def did(self, network: Network, batch: Batch, sent: float) -> float:
        """A batch that was sent at some time was answered now; returns the seconds it took."""
        hosted, now = self.hosted(network), self._clock()
        hosted.faults, self.suspect = 0, False
        self.counts.batches += 1
        self.counts.rows += batch.rows
        elapsed = max(now - sent, 1e-6)
        # Until the batch before it was done it waited; but a server may do two at once.
        seconds = max(now - max(sent, hosted.last_done), elapsed / 2)
        hosted.last_done = now
        model = hosted.draws if batch.noise is not None else hosted.scores
        model.observe(batch.rows, seconds / batch.steps)
        return seconds

    def faulty(self, network: Network, why: str) -> None:
        """The model failed at a batch; several times in a row, and it is looked at first."""
        hosted = self.hosted(network)
        hosted.faults += 1
        if hosted.faults >= MOST_FAULTS:
            self.lacks(network, why)

    def lacks(self, network: Network, why: str) -> None:
        """It is not asked for a network until it has been looked at."""
        hosted = self.hosted(network)
        if hosted.serves is not None:
            log.warning("%s: %s is not asked any more: %s", self.target, network, why)
        hosted.serves, hosted.why = None, why
        self._look_at(self._clock() + self._config.first_pause)

    def hangs(self) -> None:
        """It was given up on: it is asked last, and looked at now."""
        self.suspect = True
        self._look_at(self._clock())

    def _look_at(self, when: float) -> None:
        self.health = replace(self.health, next_look=min(when, self.health.next_look))
        self.look_soon.set()

    def gone(self, why: str) -> None:
        """It is away, and what it has fails here at once."""
        if self.health.up:
            self.counts.times_away += 1
            log.warning("%s is away: %s", self.target, why)
        self.health = failed(self.health, self._clock(), self._config, why)
        self.look_soon.set()
        for hosted in self.networks.values():
            for each in list(hosted.underway):
                each.give_up()

    async def look(self, timeout: float | None = None) -> None:
        """See whether it is there, and has what it should; takes it back if it is.

        Args:
            timeout: seconds of each of the calls that this takes; None: as configured.
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
        """Look at a network, and have it draw rows: then it may be asked."""
        hosted.serves = None
        try:
            found = await self.client.examine(network, timeout)
            await self._try(network, nothing_known(network, 1, 1))
            if not hosted.draws.known:
                await self._learn(network, hosted.draws, found.most)
        except (Unfit, WrongAnswer) as exc:
            hosted.why = str(exc)
        except TimeoutError as exc:
            # One that answers all else is there.
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
            for _ in range(2):  # the first of a size may pay for what is made once
                began = self._clock()
                await self._try(network, batch)
            model.observe(rows, max(self._clock() - began, 1e-6) / passes)

    async def measure(self) -> None:
        """See what networks take now that have not been asked for a while: nobody is sent to one
        that was slow. Whatever becomes of it, whether the server is there is `look`'s to say."""
        for network, hosted in list(self.networks.items()):
            last = max(hosted.measured, hosted.last_done)
            if self._measuring.is_due(self._clock(), last) and self._is_free(network, hosted):
                hosted.measured = self._clock()
                await self._measure(network, hosted)

    def _is_free(self, network: Network, hosted: Hosted) -> bool:
        """Whether the server has a network, still, and nothing to do: nobody has to wait, and
        what it takes is its own."""
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
                pass  # That is how slow it is, at the least.
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
        """Have a network run for nobody; not before the last such call has ended there.

        Raises:
            TimeoutError: it takes too long.
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
    """Rows to try a network with."""
    shape = rows, network.slots
    noise = np.full((rows, network.noise), 0.5, np.float32)
    return Batch(np.zeros(shape, np.int32), np.zeros(shape, bool), noise, steps)
