"""Answers to requests with a seed: from the cache, or by one draw for all equal ones in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

from cascade_proto import synthesis_pb2 as pb
from google.protobuf.message import DecodeError

from cascade_server.cascade.answer import Answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.packing import message_of
from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Route, StandInReason, choose, patience
from cascade_server.store.cache import Cache, CacheConfig, Flights, Keys, Made, WaitedTooLong
from cascade_server.store.second_level import Kept, SecondLevel
from cascade_server.terms import Tier, Wanted

AGAIN = "an equal request with this seed was answered before"


@dataclass(frozen=True)
class CacheStatistics:
    """A snapshot of the cache; see `CacheStatistics` of the wire."""

    hits: int
    second_level_hits: int
    joined: int
    misses: int
    entries: int
    bytes: int
    evicted: int
    second_level_failures: Mapping[str, int]


@dataclass
class _Counts:
    hits: int = 0
    second_level_hits: int = 0
    joined: int = 0
    misses: int = 0


class Looked(NamedTuple):
    """The result of looking up a request in the cache.

    Attributes:
        key: key of its answer, which includes the tier that should draw it.
        tier: that tier.
        student: key of the student's answer.
        route: the request's route; None if the answer was found without one.
        content: the kept answer; None if there is none.
    """

    key: bytes
    tier: Tier
    student: bytes
    route: Route | None
    content: bytes | None


class CachedAnswers:
    """Answers that may be given again to equal requests.

    Attributes:
        cache: this process's cache.
        second_level: a cache that servers share; None if there is none.
        flights: equal requests that wait for each other.

    Args:
        config: configuration of the cache.
        dispatcher: routes requests and draws.
        inline_rows: answers with more rows are serialized in a thread.
        second_level: as above.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: CacheConfig,
        dispatcher: Dispatcher,
        inline_rows: int,
        second_level: SecondLevel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dispatcher, self._clock, self._inline_rows = dispatcher, clock, inline_rows
        self.cache, self.second_level = Cache(config), second_level
        self.flights, self._counts = Flights(), _Counts()

    def may_have(self, request: CheckedRequest) -> bool:
        """Return whether an answer would be kept: the request has a seed, and is not too large."""
        return request.seeded and request.total <= self.cache.config.most_rows

    def look(self, request: CheckedRequest) -> Looked:
        """Look for an answer in this process's cache.

        AUTO gets the teacher's answer if that is kept: no answer is better, or faster. Otherwise
        the request is routed, and the answer of the chosen tier is looked up.
        """
        keys, now = Keys(request), self._clock()
        student = keys.drawn_by(Tier.STUDENT, 1)
        if request.wanted is Wanted.FAST:
            return Looked(student, Tier.STUDENT, student, None, self.cache.get(student, now))
        passes = max(1, request.runtime.passes(request.encoded.observed))
        key = keys.drawn_by(Tier.TEACHER, passes)
        content = self.cache.get(key, now)
        if content is not None:
            return Looked(key, Tier.TEACHER, student, None, content)
        route = self._dispatcher.route(request)
        if route.option is not None and route.option.tier is Tier.STUDENT:
            return Looked(student, Tier.STUDENT, student, route, self.cache.get(student, now))
        return Looked(key, Tier.TEACHER, student, route, None)

    def must_wait(self, key: bytes) -> bool:
        """Return whether a request must wait before it may be drawn.

        It may wait for an equal request in flight, or for the second level.
        """
        return self.second_level is not None or self.flights.underway(key)

    def hit(self, request: CheckedRequest, content: bytes) -> Answer:
        """Count and return an answer from the cache."""
        self._counts.hits += 1
        return self._again(request, content)

    def joins(self, request: CheckedRequest, content: bytes) -> Answer:
        """Count and return an answer that was drawn for an equal request of the same turn."""
        self._counts.joined += 1
        return self._again(request, content)

    def made(self, key: bytes, answer: Answer) -> bytes:
        """Keep an answer that was drawn; return it serialized, as it is kept."""
        self._counts.misses += 1
        content = content_of(answer)
        self._keep(key, content)
        return content

    async def answer(
        self,
        request: CheckedRequest,
        draw: Callable[[CheckedRequest, Route | None], Awaitable[Answer]],
    ) -> Answer:
        """Wait for an answer: of an equal request in flight, from the second level, or by a draw.

        AUTO waits for another request's answer from the teacher no longer than for its own; then
        the student answers. FULL waits for the teacher's answer, and requests it itself if the
        other request was answered by the student.
        """
        found = self.look(request)
        if found.content is not None:
            return self.hit(request, found.content)
        route = found.route
        if route is None or not route.has_stand_in:
            return await self._flown(request, found, draw, request.work.remaining)
        patient = partial(self._patience, request, route)
        try:
            return await self._flown(request, found, draw, patient, takes_stand_in=True)
        except WaitedTooLong:
            content = self.cache.get(found.student, self._clock())
            if content is not None:
                return self.hit(request, content)
        route = route.by_stand_in(StandInReason.OVERTAKEN)
        students = found._replace(key=found.student, tier=Tier.STUDENT, route=route)
        return await self._flown(request, students, draw, request.work.remaining)

    @staticmethod
    def _patience(request: CheckedRequest, route: Route) -> float:
        work = request.work
        return min(patience(route, work.clock()), work.remaining())

    async def _flown(
        self,
        request: CheckedRequest,
        found: Looked,
        draw: Callable[[CheckedRequest, Route | None], Awaitable[Answer]],
        remaining: Callable[[], float],
        takes_stand_in: bool = False,
    ) -> Answer:
        """Let one of all equal requests in flight make the answer; see `Flights.once`."""
        key = found.key
        answers: list[Answer] = []

        async def make() -> Made:
            if (elsewhere := await self._look_elsewhere(request, key)) is not None:
                if elsewhere.age < self.cache.config.max_age:
                    # It expires here at the same time as there.
                    self.cache.put(key, elsewhere.content, self._clock() - elsewhere.age)
                return Made(elsewhere.content)
            self._counts.misses += 1
            answer = await draw(request, found.route)
            answers.append(answer)
            if request.total <= self._inline_rows:
                content = content_of(answer)
            else:
                # An answer of many rows is written outside the event loop.
                content = await asyncio.get_running_loop().run_in_executor(
                    self._dispatcher.student_thread, content_of, answer
                )
            is_stand_in = answer.tier is not found.tier
            self._keep(found.student if is_stand_in else key, content)
            return Made(content, is_stand_in)

        content, of_another = await self.flights.once(key, make, remaining, takes_stand_in)
        if answers:
            return answers[0]
        self._counts.joined += of_another
        return self._again(request, content)

    def statistics(self) -> CacheStatistics:
        """Return counts of past answers and of the cache's content."""
        return CacheStatistics(
            **asdict(self._counts),
            entries=len(self.cache),
            bytes=self.cache.bytes,
            evicted=self.cache.evicted,
            second_level_failures={} if self.second_level is None else self.second_level.failures,
        )

    def _keep(self, key: bytes, content: bytes) -> None:
        self.cache.put(key, content, self._clock())
        if self.second_level is not None:
            self.second_level.put(key, content)

    async def _look_elsewhere(self, request: CheckedRequest, key: bytes) -> Kept | None:
        if self.second_level is None:
            return None
        found = await self.second_level.get(key, request.work.remaining())
        if found is None:
            return None
        try:
            pb.SynthesizeResponse.FromString(found.content)
        except DecodeError:
            # Intact, but not written by this version of the server.
            self.second_level.corrupt()
            return None
        self._counts.second_level_hits += 1
        return found

    def _again(self, request: CheckedRequest, content: bytes) -> Answer:
        """Return a kept answer with this request's own timings."""
        found = time.perf_counter()
        kept = pb.SynthesizeResponse.FromString(content)
        teacher = kept.provenance.tier == pb.TIER_TEACHER
        route = None
        if request.explain:
            options = self._dispatcher.options(request)
            route = choose(options, request.work.remaining(), request.wanted)
        return Answer(
            request,
            Tier.TEACHER if teacher else Tier.STUDENT,
            kept.provenance.steps,
            kept.rows.SerializeToString(),
            found,
            route=route,
            reason=AGAIN,
            log_likelihood=kept.log_likelihood,
            cached=True,
        )


def content_of(answer: Answer) -> bytes:
    """Return the serialized form of an answer for the cache.

    The answer's rows become their wire form, so that they are not written again.
    """
    message = message_of(answer)
    # These belong to one request only: the time, and the reasons.
    message.provenance.ClearField("timings")
    message.provenance.ClearField("routing")
    answer.rows = message.rows.SerializeToString()
    return message.SerializeToString()
