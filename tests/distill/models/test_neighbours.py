"""Numbers that are told where others lie on their own grid."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cascade_distill.learning.rows import prepare
from cascade_distill.learning.teacher import fit_teacher, load_teacher
from cascade_distill.models.nearness import (
    ABOVE,
    BESIDE,
    EQUAL,
    FAR,
    KERNEL,
    PLACES,
    Nearness,
    step_of,
)
from cascade_distill.models.neighbours import (
    CODES,
    MASS_APART,
    UNKNOWN,
    Chosen,
    Target,
    chosen_neighbours,
    neighbours_of,
)
from cascade_distill.models.teacher import Denoiser, TeacherConfig, random_observed
from cascade_distill.recipes import TeacherRecipe, with_steps
from cascade_distill.runs.run import Run
from cascade_tables import Codec, Frame, infer_schema
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE, BinnedCodec
from torch import Tensor
from torch.nn import functional as F

from tests.distill.bills import COLUMNS, bills

JUNE, JULY, AUGUST, AGE, OPENED, CLOSED = range(len(COLUMNS))
SMALL = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8, dropout=0.0, input_dropout=0.0)


@pytest.fixture(scope="module")
def codec() -> Codec:
    frame = bills()
    return Codec.fit(infer_schema(frame), frame)


@pytest.fixture(scope="module")
def rows(codec: Codec) -> Tensor:
    return torch.from_numpy(codec.learnable(bills())).long()


@pytest.fixture(scope="module")
def targets(codec: Codec, rows: Tensor) -> tuple[Target, ...]:
    return neighbours_of(codec, chosen_neighbours(codec, rows.numpy()))


def binned(codec: Codec, column: int) -> BinnedCodec:
    found = codec.columns[column]
    assert isinstance(found, BinnedCodec)
    return found


def single(*columns: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(((column, 1),) for column in columns)


class TestWhichAreChosen:
    def test_those_whose_values_are_about_the_same(self, codec: Codec, rows: Tensor) -> None:
        chosen = dict(chosen_neighbours(codec, rows.numpy()))
        assert chosen[JUNE][:2] == single(JULY, AUGUST)
        assert chosen[JULY][0] == single(JUNE)[0]
        assert AGE not in chosen

    def test_dates_only_beside_dates(self, codec: Codec, rows: Tensor) -> None:
        chosen = dict(chosen_neighbours(codec, rows.numpy()))
        assert chosen[OPENED] == single(CLOSED)
        assert chosen[CLOSED] == single(OPENED)

    def test_shuffled_columns_have_none(self, codec: Codec, rows: Tensor) -> None:
        rng = np.random.default_rng(0)
        shuffled = np.empty_like(rows.numpy())
        for column in range(len(COLUMNS)):
            own = [s for s, c in enumerate(codec.layout.column) if c == column]
            shuffled[:, own] = rows.numpy()[rng.permutation(len(rows))][:, own]
        assert chosen_neighbours(codec, shuffled) == []

    def test_a_sum_that_bounds_a_number_and_the_same_for_each_of_its_parts(
        self, sums: tuple[Codec, list[Chosen]]
    ) -> None:
        """What is left is at most what there was and what was paid in, and often a little less."""
        chosen = dict(sums[1])
        before, paid, left = range(3)
        assert ((before, 1), (paid, 1)) in chosen[left]
        assert ((before, -1), (left, 1)) in chosen[paid]
        assert ((paid, -1), (left, 1)) in chosen[before]


@pytest.fixture(scope="module")
def sums() -> tuple[Codec, list[Chosen]]:
    """A table of a number that is bounded by the sum of two, and its neighbours."""
    rng = np.random.default_rng(11)
    before, paid = rng.lognormal(8, 1, 3_000), rng.lognormal(7.5, 1, 3_000)
    left = (before + paid) * (1 - rng.exponential(0.01, 3_000))
    values = {"before": before, "paid": paid, "left": left}
    frame = Frame.from_pandas(pd.DataFrame({k: v.round(2) for k, v in values.items()}))
    codec = Codec.fit(infer_schema(frame), frame)
    return codec, chosen_neighbours(codec, codec.learnable(frame))


class TestCodes:
    """Of a neighbour's tokens, where its value is on the grid of the number that is told."""

    def codes(self, codec: Codec, rows: Tensor, of: int, on: int) -> np.ndarray:
        (target,) = neighbours_of(codec, [(on, single(of))])
        slot, (neighbour,) = codec.layout.column.index(of), target.numbers
        assert neighbour.slot == slot
        pair = rows[:, slot] * codec.layout.sizes[slot + 1] + rows[:, slot + 1]
        return neighbour.codes[pair.numpy()]

    def test_a_value_is_where_the_other_codec_would_put_it(
        self, codec: Codec, rows: Tensor
    ) -> None:
        found = self.codes(codec, rows, JULY, JUNE)
        own = binned(codec, JUNE)
        outside: list = []
        differences = []
        for value, code in zip(bills()["july"].to_list(), found.tolist(), strict=True):
            coarse, fine = own.encode_value(value, outside)
            if coarse >= own.bins_from and not outside:
                differences.append(code - ((coarse - own.bins_from) * FINE + fine))
            outside.clear()
        # Only the bin of the value is known, which may be laid over several of the other grid.
        assert np.abs(differences).max() <= 5
        assert np.mean(np.array(differences) == 0) > 0.5

    def test_of_the_numbers_own_tokens_it_is_their_code(self, codec: Codec) -> None:
        (target,) = neighbours_of(codec, [(AGE, single(AGE))])
        # Three decimals leave some bins no width; those have the code of the next.
        assert np.abs(target.numbers[0].codes - np.arange(CODES)).max() <= 1

    def test_an_equal_point_mass_is_apart_and_null_is_not_known(
        self, codec: Codec, rows: Tensor
    ) -> None:
        frame = bills()
        zero = np.array(frame["july"].to_list()) == 0
        found = self.codes(codec, rows, JULY, JUNE)
        assert set(found[zero].tolist()) == {MASS_APART}
        assert (found[~zero] < CODES).all()
        null = frame["august"].null
        august = self.codes(codec, rows, AUGUST, JUNE)
        assert (august[null] == UNKNOWN).all()

    def test_what_is_beyond_the_grid_has_its_outermost_code(self, codec: Codec) -> None:
        (target,) = neighbours_of(codec, [(AGE, single(JULY))])
        highest = binned(codec, JULY).sizes[0] * FINE - 1
        assert target.numbers[0].codes[highest] == CODES - 1

    def test_of_a_sum_it_is_where_the_middles_of_its_parts_add_up_to(
        self, sums: tuple[Codec, list[Chosen]]
    ) -> None:
        codec, _ = sums
        (target,) = neighbours_of(codec, [(2, (((0, 1), (1, 1)), ((1, -1), (0, 1))))])
        near = Nearness(codec.layout, (target,), width=4, mixture=1, fine=2)
        rng, size = np.random.default_rng(1), COARSE * FINE
        pairs = rng.integers(0, size, (200, 2))
        tokens = np.zeros((200, len(codec.layout.sizes)), np.int64)
        tokens[:, 0:4:2], tokens[:, 1:5:2] = pairs // FINE, pairs % FINE
        observed = np.ones(tokens.shape, bool)
        observed[150:, 2:4] = False
        seen = near.seen(torch.from_numpy(tokens), torch.from_numpy(observed))[:, 0].numpy()
        middles = []
        for column in (0, 1):
            own = binned(codec, column)
            middles.append(((own.pairs.low + own.pairs.high) / 2)[pairs[:, column]])
        edges = np.array(binned(codec, 2).edges)
        for place, value in enumerate((middles[0] + middles[1], middles[0] - middles[1])):
            expected = (np.searchsorted(edges, value, "right") - 1).clip(0, CODES - 1)
            # In single precision a middle may be on the other side of an edge.
            assert np.abs(seen[:150, place] - expected[:150]).max() <= 1
            assert (seen[:150, place] == expected[:150]).mean() > 0.98
            assert (seen[150:, place] == UNKNOWN).all()


class TestNearness:
    def nearness(self, codec: Codec, targets: tuple[Target, ...]) -> Nearness:
        torch.manual_seed(1)
        near = Nearness(codec.layout, targets, width=12, mixture=3, fine=5)
        with torch.no_grad():
            for parameter in near.parameters():
                parameter.copy_(torch.randn_like(parameter))
        return near.requires_grad_(False)

    def test_steps_are_in_order_and_end_where_it_is_far(self) -> None:
        steps = step_of(np.arange(-FAR, FAR + 1))
        assert (np.diff(steps) >= 0).all()
        assert steps[0] == 0
        assert set(steps.tolist()) == set(range(ABOVE))
        assert step_of(np.array([-FAR - 1, FAR + 1])).tolist() == [KERNEL, ABOVE]

    def test_bins_get_what_a_plain_loop_says(
        self, codec: Codec, rows: Tensor, targets: tuple[Target, ...]
    ) -> None:
        near = self.nearness(codec, targets)
        some = rows[:40]
        observed = random_observed(40, codec.layout, torch.Generator().manual_seed(3))
        x = torch.randn(40, 12, generator=torch.Generator().manual_seed(4))
        seen = near.seen(some, observed)
        gates = near.gate(x).unflatten(1, near.shape)
        found = near.coarse(x, seen).split(near.sizes, dim=1)
        for at, target in enumerate(targets):
            expected = torch.zeros(40, near.sizes[at])
            for place in range(near.shape[1]):
                for row in range(40):
                    code, weights = int(seen[row, at, place]), gates[row, at, place]
                    weights = F.pad(weights @ near.kernel[at, place], (0, 1))
                    if code >= MASS_APART:
                        expected[row, target.masses + code // MASS_APART - 1] += weights[EQUAL]
                    elif code != UNKNOWN:
                        for each in range(COARSE):
                            step = step_of(np.array(FINE * each + FINE // 2 - code))
                            expected[row, target.bins_from + each] += weights[step]
            torch.testing.assert_close(found[at], expected, rtol=1e-4, atol=1e-5)
            alone = near.coarse_of(x, seen[:, at], at)
            torch.testing.assert_close(alone, found[at], rtol=1e-4, atol=1e-5)
        assert found[0].abs().max() > 1

    def test_places_are_seen_from_the_bin_that_was_drawn(
        self, codec: Codec, targets: tuple[Target, ...]
    ) -> None:
        near = self.nearness(codec, targets)
        most = near.shape[1]
        code = 5 * FINE + 3
        for bins, place in (
            (5, FINE * BESIDE + 4),
            (4, FINE * BESIDE + 4 + FINE),
            (6, 4),
            (8, 0),
            (2, PLACES - 1),
        ):
            seen = torch.full((1, len(targets), most), code)
            coarse = (near.bins_from + bins)[None]
            expected = near.place[:, :, place].sum(dim=1)
            found = near.fine(seen, coarse)[0]
            torch.testing.assert_close(found, expected)
            alone = near.fine_of(seen[:, 1], coarse[:, 1], 1)[0]
            torch.testing.assert_close(alone, expected[1])


class TestTeacher:
    def test_one_column_asked_alone_is_told_the_same(
        self, codec: Codec, rows: Tensor, targets: tuple[Target, ...]
    ) -> None:
        torch.manual_seed(0)
        model = Denoiser(codec.layout, SMALL, targets)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for column in range(len(COLUMNS)):
                known = torch.tensor([c != column for c in codec.layout.column]).expand(50, -1)
                score = model.log_prob(rows[:50], known)
                for slot, p in model.conditional(rows[:50], known, column).items():
                    of_token = p.gather(1, rows[:50, [slot]])[:, 0].log()
                    torch.testing.assert_close(of_token, score[:, slot], rtol=1e-4, atol=1e-5)

    def test_it_learns_a_close_number_that_it_would_blur(self, tmp_path: Path) -> None:
        """The held-out loss of as much training, with neighbours and without."""
        frame = bills()
        train = replace(TeacherRecipe().train, batch_rows=256, learning_rate=5e-3)
        recipe = TeacherRecipe(SMALL, with_steps(train, 150))
        losses = []
        for name in ("told", "untold"):
            run = Run(tmp_path / name)
            prepare(run, infer_schema(frame), frame, source="bills")
            if name == "untold":
                run.update(neighbours=[])
            outcome = fit_teacher(run, recipe)
            assert outcome.best is not None
            losses.append(outcome.best.loss)
        assert losses[0] < losses[1] - 0.5


class TestRuns:
    def test_a_teachers_size_says_nothing_new(self) -> None:
        """It is part of what a checkpoint must match: with one entry more, no run of before would
        be resumed."""
        names = {"width", "hidden", "blocks", "fine_width", "input_dropout", "dropout"}
        assert set(asdict(TeacherConfig())) == names

    def prepared(self, folder: Path) -> Run:
        run, frame = Run(folder), bills(400)
        prepare(run, infer_schema(frame), frame, source="bills")
        return run

    def test_neighbours_are_kept_with_the_run(self, tmp_path: Path) -> None:
        run = self.prepared(tmp_path)
        assert [column for column, _ in run.read_json("run.json")["neighbours"]][:2] == [JUNE, JULY]
        fit_teacher(run, TeacherRecipe(SMALL, with_steps(TeacherRecipe().train, 2)))
        teacher = load_teacher(run)
        assert teacher.nearness is not None
        assert teacher.nearness.slots[0] == run.codec().layout.column.index(JUNE)

    def test_a_run_of_before_there_were_any_goes_on_as_it_was(self, tmp_path: Path) -> None:
        run, recipe = self.prepared(tmp_path), TeacherRecipe(SMALL)
        recipe = TeacherRecipe(SMALL, with_steps(recipe.train, 2))
        about = run.read_json("run.json")
        del about["neighbours"]
        run.write_json("run.json", about)
        fit_teacher(run, recipe)
        graph = run.path("teacher.onnx").read_bytes()
        # The same command once more: a finished run is not trained anew.
        self.prepared(tmp_path)
        assert run.read_json("run.json")["neighbours"] == []
        fit_teacher(run, recipe)
        assert run.path("teacher.onnx").read_bytes() == graph
        assert load_teacher(run).nearness is None
