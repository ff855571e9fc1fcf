"""All figures together, and the floor beside them."""

from __future__ import annotations

import pytest
from cascade_distill.errors import DistillError
from cascade_distill.fidelity import evaluation

from tests.distill.made_up import payments, schema_of

TRAIN, TEST = payments(900, 1), payments(400, 2)
SAMPLES = [payments(900, seed) for seed in (3, 4, 5)]
SCHEMA = schema_of(TRAIN, TEST, *SAMPLES)
KEYS = {
    "shape_err_pct",
    "trend_err_pct",
    "trend_all_err_pct",
    "xgb_auc",
    "xgb_c2st",
    "xgb_auc_heldout",
    "xgb_c2st_heldout",
    "relational_c2st",
    "lr_c2st",
    "mle_auc",
    "dcr_share",
    "nearest_equality",
}
pytestmark = pytest.mark.usefixtures("few_trees")
MARGINS = {"nearest_equality_margin", "dcr_share_margin"}


@pytest.fixture(scope="module")
def report(few_trees):
    return evaluation.evaluate(TRAIN, TEST, SAMPLES, SCHEMA, "fraud")


@pytest.fixture(scope="module")
def floor(few_trees):
    return evaluation.floor(TRAIN, TEST, SCHEMA, "fraud")


class TestEvaluate:
    def test_has_every_figure(self, report):
        assert report.figures.keys() == KEYS

    def test_is_the_mean_over_the_samples(self, report):
        each = [sample["xgb_auc"] for sample in report.samples]
        assert len(set(each)) == 3
        assert report.figures["xgb_auc"] == pytest.approx(sum(each) / 3)

    def test_perfect_samples_are_at_the_floor(self, report, floor):
        """Tolerances: three standard errors at 400 rows."""
        assert report.figures["xgb_auc_heldout"] == pytest.approx(0.5, abs=0.06)
        assert report.figures["dcr_share"] == pytest.approx(0.5, abs=0.06)
        same = floor.figures["nearest_equality"]
        assert report.figures["nearest_equality"] == pytest.approx(same, abs=0.01)
        assert report.figures["shape_err_pct"] < 1.5 * floor.figures["shape_err_pct"]

    def test_copies_win_against_train_and_show_elsewhere(self):
        found = evaluation.evaluate(TRAIN, TEST, [TRAIN.copy()], SCHEMA, None).figures
        assert found["xgb_c2st"] == 1
        assert found["shape_err_pct"] == pytest.approx(0, abs=1e-9)
        assert found["dcr_share"] == 1
        assert found["nearest_equality"] == 1

    def test_without_a_target_there_is_no_efficacy(self):
        found = evaluation.evaluate(TRAIN, TEST, SAMPLES[:1], SCHEMA, None).figures
        assert found.keys() == KEYS - {"mle_auc"}

    def test_no_samples_is_refused(self):
        with pytest.raises(DistillError, match="at least one"):
            evaluation.evaluate(TRAIN, TEST, [], SCHEMA, None)

    def test_a_table_too_small_is_named(self):
        with pytest.raises(DistillError, match="test table has 7 rows"):
            evaluation.evaluate(TRAIN, TEST[:7], SAMPLES, SCHEMA, None)


class TestFloor:
    def test_has_the_same_figures(self, floor):
        assert floor.figures.keys() == KEYS | MARGINS

    def test_real_rows_cannot_be_told_from_real_rows(self, floor):
        for key in ("xgb_auc", "xgb_auc_heldout", "dcr_share"):
            assert floor.figures[key] == pytest.approx(0.5, abs=0.06), key


class TestCachedFloor:
    def test_is_made_once(self, tmp_path, monkeypatch, floor):
        made = []

        def counted(*args):
            made.append(args)
            return floor

        monkeypatch.setattr(evaluation, "floor", counted)
        found = [
            evaluation.cached_floor(TRAIN, TEST, SCHEMA, "fraud", folder=tmp_path) for _ in range(2)
        ]
        assert len(made) == 1
        assert found[1].figures == pytest.approx(dict(floor.figures))

    def test_other_rows_are_another_floor(self, tmp_path, monkeypatch, floor):
        monkeypatch.setattr(evaluation, "floor", lambda *_: floor)
        for train in (TRAIN, TRAIN[1:], TRAIN.assign(items=1)):
            evaluation.cached_floor(train, TEST, SCHEMA, "fraud", folder=tmp_path)
        assert len(list(tmp_path.glob("floor-*.json"))) == 3

    def test_a_damaged_file_is_made_again(self, tmp_path, monkeypatch, floor):
        monkeypatch.setattr(evaluation, "floor", lambda *_: floor)
        evaluation.cached_floor(TRAIN, TEST, SCHEMA, "fraud", folder=tmp_path)
        (path,) = tmp_path.glob("floor-*.json")
        path.write_text('[{"shape')
        again = evaluation.cached_floor(TRAIN, TEST, SCHEMA, "fraud", folder=tmp_path)
        assert again.figures == pytest.approx(dict(floor.figures))
