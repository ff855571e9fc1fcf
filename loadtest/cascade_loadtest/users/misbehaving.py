"""The misbehaving client: what it asks for has to be refused, and others must not notice.

A refusal that is due is no failure of the server's. What is one: an error of the server's own
(INTERNAL, UNKNOWN), a server that is gone (UNAVAILABLE), or that takes what it has to refuse.
"""

from __future__ import annotations

import random
import time

import grpc
from cascade_proto import synthesis_pb2 as pb
from locust import User, constant_pacing, task

from cascade_loadtest.requests import SYNTHESIZE
from cascade_loadtest.users.recording import Outcome, call, is_ready
from cascade_loadtest.users.tables import table_of, target_of

GENERATE = "/cascade.v1.Synthesis/Generate"
# One byte more than a message may have, and what a call that is to be refused may take.
TOO_LARGE, PATIENCE = 16 * 2**20 + 1, 10.0
CODE = grpc.StatusCode
# What the server's own faults are; everything else that it says of a bad call is a refusal.
ITS_OWN = {CODE.INTERNAL, CODE.UNKNOWN, CODE.UNAVAILABLE, CODE.DATA_LOSS, CODE.UNIMPLEMENTED}


class Taken(grpc.RpcError):
    """The server took what it had to refuse."""

    def code(self) -> grpc.StatusCode:
        """As other errors of gRPC have it."""
        return CODE.OK


class MisbehavingClient(User):
    """A client with every defect at once: a call and a half a second, each in a way of its own."""

    host = "127.0.0.1:8470"
    wait_time = constant_pacing(0.7)

    def on_start(self) -> None:
        self._table = table_of(self)
        self._rng = random.Random()
        # Its own connection: what it does to it is nobody else's.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(target_of(self), options=options)
        grpc.channel_ready_future(self._channel).result(timeout=30)
        self._raw = self._channel.unary_unary(SYNTHESIZE)
        self._stream = self._channel.unary_stream(GENERATE)
        is_ready(self.environment)

    def on_stop(self) -> None:
        self._channel.close()

    @task
    def huge(self) -> None:
        """A message that is larger than any may be."""
        self._refused("misbehaving: huge", bytes(TOO_LARGE), {CODE.RESOURCE_EXHAUSTED})

    @task
    def malformed(self) -> None:
        """Bytes that are no message of this service's."""
        body = self._rng.randbytes(self._rng.randint(1, 2000))
        self._refused("misbehaving: malformed", b"\xff" + body, {CODE.INVALID_ARGUMENT})

    @task
    def nonsense(self) -> None:
        """A message whose columns there are not."""
        request = pb.SynthesizeRequest(table=self._table, rows=pb.Rows(count=1))
        request.rows.columns.add(name="\u202eno such column").strings.values.append("x" * 1000)
        body = request.SerializeToString()
        self._refused("misbehaving: nonsense", body, {CODE.INVALID_ARGUMENT})

    @task
    def abandoned(self) -> None:
        """A call that its caller gives up at once."""
        with call(self, "bad", "misbehaving: abandoned") as outcome:
            future = self._raw.future(self._one_row(), timeout=PATIENCE)
            # Locust has it yield to other users.
            time.sleep(self._rng.uniform(0, 0.005))
            if not future.cancel() and future.done():
                outcome.tier = "answered before"
                return
            outcome.refused = CODE.CANCELLED.name

    @task
    def unread(self) -> None:
        """A stream of which nothing is read, for a second."""
        request = pb.GenerateRequest(table=self._table, count=100_000)
        with call(self, "bad", "misbehaving: unread") as outcome:
            stream = self._stream(request.SerializeToString(), timeout=PATIENCE)
            time.sleep(1.0)
            stream.cancel()
            self._ended(stream.code(), {CODE.CANCELLED}, outcome, stream)

    @task
    def impatient(self) -> None:
        """A deadline that no server could keep."""
        with call(self, "bad", "misbehaving: impatient") as outcome:
            try:
                self._raw(self._one_row(), timeout=self._rng.uniform(1e-5, 5e-4))
            except grpc.RpcError as exc:
                self._ended(exc.code(), None, outcome, exc)
            else:
                outcome.tier = "answered in time"

    def _one_row(self) -> bytes:
        request = pb.SynthesizeRequest(table=self._table, rows=pb.Rows(count=1))
        return request.SerializeToString()

    def _refused(self, name: str, body: bytes, due: set[grpc.StatusCode]) -> None:
        with call(self, "bad", name) as outcome:
            try:
                self._raw(body, timeout=PATIENCE)
            except grpc.RpcError as exc:
                self._ended(exc.code(), due, outcome, exc)
            else:
                raise Taken

    def _ended(
        self,
        code: grpc.StatusCode,
        due: set[grpc.StatusCode] | None,
        outcome: Outcome,
        error: grpc.RpcError,
    ) -> None:
        """A call was ended with a code: as it had to be, or the server is to blame."""
        if code in ITS_OWN or (due is not None and code not in due | {CODE.RESOURCE_EXHAUSTED}):
            raise error
        outcome.refused = code.name
