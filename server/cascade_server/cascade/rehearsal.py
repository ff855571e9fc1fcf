"""Runs a few requests through a newly loaded release before it serves, without the socket.

First runs are slow, because memory has not been touched yet and Python has not specialised its
bytecode. The rehearsal also finds a release that cannot answer before any caller does.
"""

from __future__ import annotations

import math

from cascade_proto import synthesis_pb2 as pb

from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.packing import message_of
from cascade_server.cascade.request import check
from cascade_server.cascade.router import Option, Route
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier, Wanted
from cascade_server.wire.synthesis_request import read_request

# Runs of the same code after which Python's interpreter has specialised it.
TIMES = 24
OPTION = Option(Tier.STUDENT, 1, 0.0)
ROUTE = Route(OPTION, (OPTION,), (OPTION,), math.inf, Wanted.FAST, 0, math.inf)


def rehearse(runtime: Runtime, times: int = TIMES) -> None:
    """Answer requests for one row with the student: a whole row first, then most of one given.

    Raises:
        Exception: the release cannot answer; any error, since a broken release may raise any.
    """
    table = runtime.release.manifest.table
    request = pb.SynthesizeRequest(table=table, rows=pb.Rows(count=1), seed=0)
    for number in range(times):
        message = request.SerializeToString()
        answer = answered(pb.SynthesizeRequest.FromString(message), runtime)
        answer.SerializeToString()
        if number == 0:
            request.rows.columns.extend(answer.rows.columns[runtime.columns // 4 :])


def answered(request: pb.SynthesizeRequest, runtime: Runtime) -> pb.SynthesizeResponse:
    """Answer a request for one row with the student, on the calling thread."""
    asked = read_request(request, runtime.fields)
    checked = check(asked, runtime, Work.from_remaining(None), max_rows=1)
    tokens, observed = checked.completed()
    noise = checked.student_noise()((1, runtime.student_noise))
    drawn = runtime.draw_student(tokens, observed, noise)
    return message_of(drawn_answer(checked, Drawn(drawn, OPTION, ROUTE, None, 0.0, 0.0)))
