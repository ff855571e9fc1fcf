"""What callers see of two workers, against what any of the workers says was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

from tests.integration.serving import Served, serve
from tests.releases import TABLE, make_release
from tests.server.messages import ask
from tests.typed import SOON

OWN = [("grpc.use_local_subchannel_pool", 1)]
CONNECTIONS, CALLS = 12, 60


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Served]:
    make_release(tmp_path)
    with serve("--repository", str(tmp_path), "--workers", "2") as served:
        yield served


def levels(target: str) -> Iterator[pb.GetServiceLevelResponse]:
    """As whichever worker a new connection reaches has them, several times."""
    for _ in range(8):
        with grpc.insecure_channel(target, OWN) as channel:
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            yield stub.GetServiceLevel(pb.GetServiceLevelRequest(), timeout=SOON)


def test_every_call_is_in_what_any_worker_says_at_once(two: Served) -> None:
    """A burst over connections to both, more than they may answer; then calls without a chance."""
    seen: Counter[grpc.StatusCode] = Counter()
    hopeless = ask(timeout_microseconds=1)
    with ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(two.target, OWN)) for _ in range(CONNECTIONS)
        ]
        stubs: list[Any] = [SynthesisStub(channel) for channel in channels]  # type: ignore[no-untyped-call]
        for stub in stubs:
            seen[stub.Synthesize.with_call(ask(), timeout=SOON)[1].code()] += 1
        calls = [stub.Synthesize.future(ask()) for _ in range(CALLS) for stub in stubs]
        seen.update(call.code() for call in calls)
        # One at a time: a server that was slow to answer the burst would refuse some of many.
        late = Counter(stub.Synthesize.future(hopeless).code() for stub in stubs)
    assert set(seen) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert late == {grpc.StatusCode.DEADLINE_EXCEEDED: CONNECTIONS}
    for level in levels(two.target):
        (kept,) = (
            each for each in level.objectives if each.name == f"{TABLE}-realtime-availability"
        )
        assert kept.good == seen[grpc.StatusCode.OK]
        assert kept.total == seen.total()
        assert {(each.fault, each.calls) for each in level.caller_faults} == {
            (pb.CALLER_FAULT_DEADLINE_TOO_SHORT, CONNECTIONS)
        }
