"""The scoring service: a transaction comes in, a score goes out within 20 ms, whatever is late.

 0 ms   the transaction; its lookups are asked, all at once
 5 ms   lookups that have not answered are late: Cascade is asked for their features, many
        plausible values of each, with what is left of the budget as deadline
18 ms   at the latest Cascade has answered, or refused, or the SDK has given up: medians then
        stand for what is late
20 ms   the score: the mean of the model's over the draws, and how far apart they are
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import grpc
from cascade_client import AsyncClient, CascadeError
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from examples.fraud_scoring.lookups import LOOKUPS
from examples.fraud_scoring.model import TABLE, ScoringModel

METHOD = "/fraud.Scoring/Score"


@dataclass(frozen=True)
class Budget:
    """Where the milliseconds go, in seconds from a transaction's arrival.

    Attributes:
        whole: until its score.
        lookups: until a lookup that has not answered counts as late.
        scoring: that the model itself needs in the end.
    """

    whole: float = 0.020
    lookups: float = 0.005
    scoring: float = 0.002


@dataclass(frozen=True)
class Scored:
    """A score, and how it came about.

    Attributes:
        score: the chance that the client will not pay.
        low, high: the middle 80 % of it over what the late features may be; equal if none is late.
        late: features that were.
        filled_by: "nothing", where none was late, "cascade" or "medians".
        reason: why it was not Cascade, in one line.
        milliseconds: from the transaction's arrival.
    """

    score: float
    low: float
    high: float
    late: tuple[str, ...]
    filled_by: str
    reason: str
    milliseconds: float


class Lookups(Protocol):
    """Who is asked for features."""

    async def look_up(self, lookup: str, transaction: int) -> dict[str, Any]: ...


class Scorer:
    """Scores one transaction after another, each within its budget.

    Args:
        model: what scores whole rows.
        lookups: where features are asked for.
        client: of Cascade; share one among all calls.
        draws: plausible values of what is late, of which the score is the mean.
        budget: of a transaction.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        model: ScoringModel,
        lookups: Lookups,
        client: AsyncClient,
        draws: int = 32,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._lookups, self._client = model, lookups, client
        self._draws, self._budget, self._clock = draws, budget or Budget(), clock

    async def score(self, transaction: int, given: Mapping[str, Any]) -> Scored:
        """A transaction's score.

        Args:
            transaction: its number, by which its features are looked up.
            given: the features that came with it.
        """
        began = self._clock()
        known = {**given, **await self._looked_up(transaction)}
        late = tuple(name for name in self._model.features if name not in known)
        rows, filled_by, reason = [known], "nothing", ""
        if late:
            left = self._budget.whole - self._budget.scoring - (self._clock() - began)
            rows, filled_by, reason = await self._filled(known, late, left)
        scores = self._model.scores(rows)
        ranked = sorted(scores.tolist())
        edge = len(ranked) // 10
        return Scored(
            score=float(scores.mean()),
            low=ranked[edge],
            high=ranked[-1 - edge],
            late=late,
            filled_by=filled_by,
            reason=reason,
            milliseconds=1e3 * (self._clock() - began),
        )

    async def _looked_up(self, transaction: int) -> dict[str, Any]:
        """The features of the lookups that answer in time."""
        tasks = [asyncio.create_task(self._lookups.look_up(each, transaction)) for each in LOOKUPS]
        done, pending = await asyncio.wait(tasks, timeout=self._budget.lookups)
        for task in pending:
            task.cancel()
        # A lookup that failed is late for good.
        answers = [task.result() for task in done if task.exception() is None]
        return {name: value for answer in answers for name, value in answer.items()}

    async def _filled(
        self, known: Mapping[str, Any], late: tuple[str, ...], left: float
    ) -> tuple[list[dict[str, Any]], str, str]:
        """Rows with something in the place of what is late, who filled it, and why not Cascade."""
        try:
            answer = await self._client.synthesize(
                TABLE,
                [known],
                draws=self._draws,
                columns=late,
                fidelity="fast",
                # Nothing that is late is asked for, and the SDK takes no deadline that has passed.
                timeout=max(left, 1e-3),
            )
        except CascadeError as exc:
            return [self._model.with_medians(known)], "medians", str(exc)
        return [{**known, **drawn} for drawn in answer.data], "cascade", ""


@asynccontextmanager
async def serving(scorer: Scorer) -> AsyncIterator[str]:
    """The service on a free port; yields its address.

    A message is a `google.protobuf.Struct`, so that the example needs no generated code: the
    request has "transaction" and "given", the answer the fields of `Scored`.
    """

    async def answer(request: Struct, _: object) -> Struct:
        asked = MessageToDict(request)
        scored = asdict(await scorer.score(int(asked["transaction"]), asked["given"]))
        message = Struct()
        message.update({**scored, "late": list(scored["late"])})
        return message

    method = grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=Struct.FromString, response_serializer=Struct.SerializeToString
    )
    server = grpc.aio.server()
    _, service, name = METHOD.split("/")
    handler = grpc.method_handlers_generic_handler(service, {name: method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)


class ScoringClient:
    """Who sends transactions to the service: a payment gateway."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._score = channel.unary_unary(
            METHOD,
            request_serializer=Struct.SerializeToString,
            response_deserializer=Struct.FromString,
        )

    async def score(self, transaction: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `Scored`."""
        request = Struct()
        request.update({"transaction": transaction, "given": dict(given)})
        return MessageToDict(await self._score(request))
