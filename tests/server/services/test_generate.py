"""What `Generate` streams, over gRPC; and what stops it."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.engines.runtime import Runtime

from tests.releases import TABLE
from tests.server.messages import COLUMNS, allowed, read, row
from tests.server.running import Running


def generate(serving: Running, **fields: Any) -> list[pb.GenerateResponse]:
    request = pb.GenerateRequest(table=fields.pop("table", TABLE), **fields)
    return list(serving.stub.Generate(request))


class TestRows:
    """Whole rows from the teacher, in messages of 64."""

    def test_as_many_as_asked_for_with_progress(self, serving: Running) -> None:
        messages = generate(serving, count=150)
        assert [(m.done, m.total, m.rows.count) for m in messages] == [
            (64, 150, 64),
            (128, 150, 64),
            (150, 150, 22),
        ]
        answer = [read(m.rows) for m in messages]
        assert {tuple(part) for part in answer} == {COLUMNS}
        assert all(allowed(n, v) for part in answer for n, values in part.items() for v in values)

    def test_from_the_teacher(self, serving: Running) -> None:
        found = generate(serving, count=1)[0].provenance
        assert (found.synthetic, found.tier, found.steps) == (True, pb.TIER_TEACHER, len(COLUMNS))

    def test_the_given_row_is_shared_by_all(self, serving: Running) -> None:
        given = row(items=3, channel=None)
        messages = generate(serving, count=70, given=given, columns=["channel", "items", "at"])
        for part in (read(m.rows) for m in messages):
            assert tuple(part) == ("channel", "items", "at")
            assert set(part["items"]) == {3}
            assert set(part["channel"]) == {None}
        assert {m.provenance.steps for m in messages} == {len(COLUMNS) - 2}

    def test_a_seed_repeats_them_and_chunks_differ(self, serving: Running) -> None:
        first, second = (generate(serving, count=128, seed=9) for _ in range(2))
        assert [m.rows for m in first] == [m.rows for m in second]
        assert first[0].rows != first[1].rows


class TestResuming:
    """A stream that broke is gone on with from any whole message."""

    def test_the_rows_after_those_that_came(self, serving: Running) -> None:
        whole = generate(serving, count=150, seed=9)
        for sent in (1, 2):
            seen = whole[sent - 1]
            rest = generate(
                serving, count=150, seed=9, version=seen.provenance.version, done=seen.done
            )
            assert [m.rows for m in rest] == [m.rows for m in whole[sent:]]
            assert [(m.done, m.total) for m in rest] == [(m.done, m.total) for m in whole[sent:]]

    @pytest.mark.parametrize(
        ("done", "seed", "why"),
        [
            (65, 9, "done is 65; allowed: a multiple of 64"),
            (192, 9, "below count, which is 150"),
            (64, None, "done is 64 without a seed"),
        ],
    )
    def test_from_elsewhere_is_refused(
        self, serving: Running, done: int, seed: int | None, why: str
    ) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            generate(serving, count=150, seed=seed, done=done)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert why in error.details()


class TestTheEnd:
    """A caller who hangs up, or whose deadline passes, stops the work."""

    def test_work_stops_when_the_caller_hangs_up(
        self, serving: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Held inside the teacher, cancelled there, let go: no later pass is run."""
        passes: list[int] = []
        inside, cancelled = threading.Event(), threading.Event()
        denoise = Runtime.denoise

        def held(self: Runtime, *args: Any) -> Any:
            passes.append(len(passes))
            inside.set()
            assert cancelled.wait(30)
            return denoise(self, *args)

        monkeypatch.setattr(Runtime, "denoise", held)
        call = serving.stub.Generate(pb.GenerateRequest(table=TABLE, count=1000))
        assert inside.wait(30)
        call.cancel()
        # Behind the cancellation on the same connection: its answer is proof that both arrived.
        serving.stub.ListTables(pb.ListTablesRequest())
        cancelled.set()
        # The teacher has one thread, so this answer comes after the cancelled work has ended.
        serving.stub.Synthesize(
            pb.SynthesizeRequest(
                table=TABLE, rows=pb.Rows(count=1), fidelity=pb.FIDELITY_FULL, seed=1
            )
        )
        assert len(passes) == 1 + len(COLUMNS)

    def test_a_deadline_stops_it(self, serving: Running) -> None:
        request = pb.GenerateRequest(table=TABLE, count=100_000)
        with pytest.raises(grpc.RpcError) as caught:
            list(serving.stub.Generate(request, timeout=0.3))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
