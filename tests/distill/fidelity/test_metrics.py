"""Metrics on tables whose difference is known. Tolerances are about three standard errors of the
figure at the rows used, seen over other seeds."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cascade_distill.fidelity import metrics
from cascade_distill.fidelity.metric_arrays import to_matrix
from cascade_tables import UnknownColumn, infer_schema
from cascade_tables.frame import Frame

from tests.distill.made_up import payments, schema_of

ROWS = 1500
REAL, TWIN, OTHER = payments(ROWS, 1), payments(ROWS, 2), payments(ROWS, 3)
SHIFTED, INDEPENDENT = payments(ROWS, 4, shift=1.0), payments(ROWS, 5, dependent=False)
SCHEMA = schema_of(REAL, TWIN, OTHER, SHIFTED, INDEPENDENT)


class TestQuality:
    """Shape and Trend errors."""

    def test_a_table_equals_itself(self):
        assert metrics.quality(REAL, REAL, SCHEMA) == pytest.approx((0, 0, 0), abs=1e-9)

    def test_another_sample_is_at_the_noise_floor(self):
        found = metrics.quality(REAL, TWIN, SCHEMA)
        assert 0 < found.shape_err_pct < 4
        assert 0 < found.trend_all_err_pct < 6

    def test_a_moved_column_costs_shape(self):
        near, far = (metrics.quality(REAL, t, SCHEMA).shape_err_pct for t in (TWIN, SHIFTED))
        assert far > near + 5

    def test_lost_dependence_costs_trend_not_shape(self):
        near, far = (metrics.quality(REAL, t, SCHEMA) for t in (TWIN, INDEPENDENT))
        assert far.trend_err_pct > near.trend_err_pct + 1
        assert far.shape_err_pct < near.shape_err_pct + 1

    def test_equals_sdmetrics_with_datetimes_as_datetimes(self):
        """Without NULLs, where we differ on purpose."""
        from sdmetrics.column_pairs import CorrelationSimilarity
        from sdmetrics.single_column import KSComplement

        columns = ["amount", "at"]
        real, other = REAL[columns], SHIFTED[columns]
        shape = 1 - np.mean([KSComplement.compute(real[c], other[c]) for c in columns])
        trend = 1 - CorrelationSimilarity.compute(real, other)
        found = metrics.quality(real, other, schema_of(real, other))
        assert found.shape_err_pct == pytest.approx(100 * shape)
        assert found.trend_all_err_pct == pytest.approx(100 * trend)

    def test_missing_nulls_cost_shape(self):
        filled = TWIN.assign(channel=TWIN["channel"].fillna("web"))
        near, far = (metrics.quality(REAL, t, SCHEMA).shape_err_pct for t in (TWIN, filled))
        # A tenth of one of seven columns moved.
        assert far - near == pytest.approx(100 * 0.1 / 7, abs=0.8)

    def test_a_constant_column_is_wrong_not_left_out(self):
        constant = TWIN.assign(amount=float(TWIN["amount"].median()))
        assert metrics.quality(REAL, constant, SCHEMA).shape_err_pct > 5
        assert metrics.quality(REAL, constant, SCHEMA).trend_all_err_pct > 10

    def test_prints_nothing(self, capfd):
        metrics.quality(REAL, TWIN, SCHEMA)
        assert capfd.readouterr() == ("", "")


class TestDetection:
    """XGBoost's AUC and the logistic regression's score."""

    def test_same_distribution_is_chance(self):
        assert metrics.xgb_auc(REAL, TWIN, SCHEMA) == pytest.approx(0.5, abs=0.04)
        assert metrics.lr_c2st(REAL, TWIN, SCHEMA) > 0.92

    def test_shifted_is_detected(self):
        assert metrics.xgb_auc(REAL, SHIFTED, SCHEMA) > 0.7
        assert metrics.lr_c2st(REAL, SHIFTED, SCHEMA) < 0.6

    def test_lost_dependence_is_detected_by_trees_only(self):
        far = metrics.xgb_auc(REAL, INDEPENDENT, SCHEMA)
        assert far > 0.6
        assert metrics.lr_c2st(REAL, INDEPENDENT, SCHEMA) > 0.9

    def test_nulls_in_the_wrong_places_are_detected(self):
        wrong = TWIN.assign(tip=TWIN["tip"].where(TWIN["member"]))
        assert metrics.xgb_auc(REAL, wrong, SCHEMA) > 0.6

    def test_copies_fall_below_chance(self):
        assert metrics.xgb_auc(REAL, REAL.copy(), SCHEMA) < 0.45

    def test_same_call_same_figure(self):
        first, second = (metrics.xgb_auc(REAL, TWIN[:900], SCHEMA) for _ in range(2))
        assert first == second

    def test_rows_of_the_larger_table_are_sampled(self):
        assert metrics.xgb_auc(REAL, TWIN[:500], SCHEMA) == pytest.approx(0.5, abs=0.08)

    @pytest.mark.parametrize(("auc", "score"), [(0.5, 1.0), (0.4, 1.0), (1.0, 0.0), (0.75, 0.5)])
    def test_c2st(self, auc, score):
        assert metrics.c2st(auc) == pytest.approx(score)


class TestEfficacy:
    """Learning from synthetic rows, tested on real ones."""

    def test_good_rows_teach_and_independent_ones_do_not(self):
        good = metrics.mle(TWIN, REAL, SCHEMA, "fraud")
        bad = metrics.mle(INDEPENDENT, REAL, SCHEMA, "fraud")
        assert good > 0.7
        assert bad == pytest.approx(0.5, abs=0.08)

    def test_target_of_several_classes(self):
        assert metrics.mle_key(SCHEMA, "channel") == "mle_auc"
        assert 0.5 < metrics.mle(TWIN, REAL, SCHEMA, "channel") < 1

    def test_number_as_target_gives_r2(self):
        assert metrics.mle_key(SCHEMA, "amount") == "mle_r2"
        assert 0.1 < metrics.mle(TWIN, REAL, SCHEMA, "amount") < 1

    def test_a_single_class_predicts_nothing(self):
        assert metrics.mle(TWIN.assign(fraud=np.int8(0)), REAL, SCHEMA, "fraud") == 0.5

    def test_unknown_target_is_named(self):
        with pytest.raises(UnknownColumn, match="'frod'"):
            metrics.mle(TWIN, REAL, SCHEMA, "frod")


class TestClosestRecord:
    """Whether synthetic rows are copies of what was learnt."""

    def test_fresh_rows_are_as_near_to_either(self):
        assert metrics.dcr_share(REAL, TWIN, OTHER, SCHEMA) == pytest.approx(0.5, abs=0.04)

    def test_copies_are_all_from_train(self):
        assert metrics.dcr_share(REAL, TWIN, REAL, SCHEMA) == 1

    def test_sizes_do_not_matter(self):
        assert metrics.dcr_share(REAL, TWIN[:300], OTHER, SCHEMA) == pytest.approx(0.5, abs=0.06)
        assert metrics.dcr_share(REAL, TWIN[:300], REAL, SCHEMA) == 1

    def test_ties_are_chance(self):
        few = ["channel", "member"]
        tables = [table[few] for table in (REAL, TWIN[:700], OTHER)]
        assert metrics.dcr_share(*tables, schema_of(REAL[few])) == pytest.approx(0.5)


class TestValues:
    """Tables read as a model's schema sees them."""

    def test_rare_categories_fold_on_both_sides(self):
        names = [f"shop {i}" for i in range(300)]
        shop = [name for i, name in enumerate(names) for _ in range(1 + 40 * (i < 20))]
        real = pd.DataFrame({"shop": shop, "at": np.arange(len(shop)) % 7})
        schema = infer_schema(Frame.from_pandas(real))
        label = schema["shop"].other
        assert label is not None
        known = set(schema["shop"].categories)
        folded = real.assign(shop=[name if name in known else label for name in shop])
        assert metrics.quality(real, folded, schema) == pytest.approx((0, 0, 0), abs=1e-9)


def test_dates_that_are_all_null_are_not_known():
    """Of a column of few dates, a part of a table may have none."""
    days = [date(2024, 1, 1 + at) if at < 9 else None for at in range(300)]
    table = pa.table({"died": pa.array(days, pa.date32()), "n": [at % 7 for at in range(300)]})
    frame = Frame.from_arrow(table)
    schema = infer_schema(frame)
    found = to_matrix(frame.take(np.arange(100, 200)).to_pandas(), schema)
    assert np.isnan(found[:, schema.names.index("died")]).all()
    assert not np.isnan(found[:, schema.names.index("n")]).any()
