"""What `Synthesize` answers, over gRPC."""

from __future__ import annotations

import math
from typing import Any

import pytest
from cascade_proto import synthesis_pb2 as pb

from tests.releases import TABLE
from tests.server.messages import ABSENT, COLUMNS, NULL, ROW, allowed, ask, column, read, row, rows
from tests.server.running import Running


class TestRows:
    """Which rows come back, and how."""

    def test_with_nothing_known_every_column_is_drawn(self, serving: Running) -> None:
        answer = read(serving.stub.Synthesize(ask(draws=200)).rows)
        assert tuple(answer) == COLUMNS
        bad = [(n, v) for n, values in answer.items() for v in values if not allowed(n, v)]
        assert bad == []
        assert len(set(answer["items"])) > 1

    def test_draw_d_of_row_i_is_row_i_times_draws_plus_d(self, serving: Running) -> None:
        answer = read(serving.stub.Synthesize(ask(rows(3, items=[1, 5, 8]), draws=4)).rows)
        assert answer["items"] == [1] * 4 + [5] * 4 + [8] * 4

    @pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL"])
    def test_what_is_given_comes_back_to_the_last_bit(
        self, serving: Running, fidelity: Any
    ) -> None:
        # Inside a bin, not on the step of a cent: the codec would not give it back.
        given = ROW | {"amount": 12.345678901234567}
        request = ask(row(**given), draws=3, fidelity=fidelity)
        answer = read(serving.stub.Synthesize(request).rows)
        assert answer == {name: [value] * 3 for name, value in given.items()}

    def test_null_is_kept_and_absent_is_drawn(self, serving: Running) -> None:
        states = [0, NULL, ABSENT]
        given = pb.Rows(count=3, columns=[column("channel", ["web", "", ""], states=states)])
        answer = read(serving.stub.Synthesize(ask(given, draws=60)).rows)["channel"]
        assert answer[:60] == ["web"] * 60
        assert answer[60:120] == [None] * 60
        assert len(set(answer[120:])) > 1

    def test_states_alone_say_null_and_absent(self, serving: Running) -> None:
        given = pb.Rows(count=2, columns=[pb.Column(name="channel", states=bytes([NULL, ABSENT]))])
        answer = read(serving.stub.Synthesize(ask(given)).rows)
        assert answer["channel"][0] is None

    def test_only_the_columns_asked_for_in_their_order(self, serving: Running) -> None:
        request = ask(row(items=4), columns=["fraud", "items"])
        answer = read(serving.stub.Synthesize(request).rows)
        assert tuple(answer) == ("fraud", "items")
        assert answer["items"] == [4]

    def test_more_rows_than_a_batch(self, serving: Running) -> None:
        answer = read(serving.stub.Synthesize(ask(draws=2500)).rows)
        assert len(answer["at"]) == 2500

    def test_whole_numbers_do_for_a_continuous_column(self, serving: Running) -> None:
        given = pb.Rows(count=1, columns=[column("amount", [12], kind="integers")])
        assert read(serving.stub.Synthesize(ask(given)).rows)["amount"] == [12.0]


class TestSeeds:
    """Equal seeds and requests give equal rows."""

    @pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL"])
    def test_a_seed_repeats_an_answer(self, serving: Running, fidelity: Any) -> None:
        def answer(seed: int) -> Any:
            return read(serving.stub.Synthesize(ask(draws=8, seed=seed, fidelity=fidelity)).rows)

        assert answer(7) == answer(7)
        assert answer(7) != answer(8)
        assert answer(2**64 - 1) == answer(2**64 - 1)

    def test_the_order_of_a_requests_columns_does_not_matter(self, serving: Running) -> None:
        one = ask(row(items=3, channel="web"), draws=8, seed=1)
        other = ask(row(channel="web", items=3), draws=8, seed=1)
        assert (
            serving.stub.Synthesize(one).rows.columns == serving.stub.Synthesize(other).rows.columns
        )

    def test_without_one_the_server_names_the_seed_it_drew(self, serving: Running) -> None:
        first = serving.stub.Synthesize(ask(draws=8))
        second = serving.stub.Synthesize(ask(draws=8))
        assert first.provenance.seed != second.provenance.seed
        again = serving.stub.Synthesize(ask(draws=8, seed=first.provenance.seed))
        assert again.rows == first.rows


class TestProvenance:
    """Every answer says where it comes from."""

    @pytest.mark.parametrize(
        ("fidelity", "given", "tier", "steps"),
        [
            ("FIDELITY_AUTO", {}, pb.TIER_TEACHER, len(COLUMNS)),
            ("FIDELITY_FAST", {}, pb.TIER_STUDENT, 1),
            ("FIDELITY_FULL", {}, pb.TIER_TEACHER, len(COLUMNS)),
            ("FIDELITY_FULL", {"items": 3, "channel": None}, pb.TIER_TEACHER, len(COLUMNS) - 2),
        ],
    )
    def test_tier_and_passes(
        self, serving: Running, fidelity: Any, given: dict[str, Any], tier: int, steps: int
    ) -> None:
        found = serving.stub.Synthesize(ask(row(**given), fidelity=fidelity)).provenance
        assert (found.tier, found.steps) == (tier, steps)

    def test_what_else_it_says(self, serving: Running) -> None:
        found = serving.stub.Synthesize(ask(seed=5)).provenance
        assert (found.synthetic, found.table, found.seed) == (True, TABLE, 5)
        assert not found.HasField("epsilon")
        timings = found.timings
        assert min(timings.encode, timings.compute, timings.decode) > 0

    def test_the_latest_version_unless_one_is_named(self, serving: Running) -> None:
        assert serving.stub.Synthesize(ask()).provenance.version == 3
        first = serving.stub.Synthesize(ask(version=1, seed=1, draws=8))
        assert first.provenance.version == 1
        assert first.rows != serving.stub.Synthesize(ask(version=3, seed=1, draws=8)).rows

    def test_an_unseen_category_is_folded_and_said_so(self, serving: Running) -> None:
        answer = serving.stub.Synthesize(ask(row(channel="fax"), table="shops"))
        assert read(answer.rows)["channel"] == ["fax"]
        assert list(answer.provenance.notices) == [
            "column 'channel': 'fax' was in fewer than 5 rows that were learnt; conditioned on "
            "'(other)'"
        ]


class TestLogLikelihood:
    """ln p(observed), from the teacher."""

    def of(self, serving: Running, given: pb.Rows) -> list[float]:
        answer = serving.stub.Synthesize(ask(given, log_likelihood=True))
        return list(answer.log_likelihood)

    def test_not_unless_asked_for(self, serving: Running) -> None:
        assert list(serving.stub.Synthesize(ask(row(items=3))).log_likelihood) == []

    def test_of_nothing_is_zero(self, serving: Running) -> None:
        assert self.of(serving, pb.Rows(count=1)) == [0.0]

    def test_a_columns_values_share_one(self, serving: Running) -> None:
        found = self.of(serving, rows(2, member=[True, False]))
        # float32 logits, summed over two values.
        assert math.fsum(map(math.exp, found)) == pytest.approx(1, abs=1e-5)

    def test_knowing_more_is_less_likely(self, serving: Running) -> None:
        some = self.of(serving, row(items=3))[0]
        more = self.of(serving, row(items=3, member=True, channel=None))[0]
        assert more < some < 0

    def test_it_is_one_a_row_not_one_a_draw(self, serving: Running) -> None:
        request = ask(rows(2, items=[3, 4]), draws=5, log_likelihood=True)
        assert len(serving.stub.Synthesize(request).log_likelihood) == 2
