"""The gate between a plan and its release, with real runtimes: an equal one and a faulty one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from cascade_server.engines.gpu import graphs
from cascade_server.engines.gpu.compiling import candidate, reference
from cascade_server.engines.gpu.parity import Parity, auc, auc_error, compare, xgboost_detector
from cascade_server.engines.gpu.runtime import GpuRuntime
from cascade_server.terms import Tier
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score

from tests.server.engines.gpu.conftest import BUCKETS, Both
from tests.server.engines.gpu.host import HostDevice

ROWS = 8000
DETECTOR = xgboost_detector(1)


def rewritten(both: Both, spoils) -> GpuRuntime:  # type: ignore[no-untyped-def]
    """The student in lanes, its graph changed by `spoils`."""
    from cascade_server.engines.gpu.providers import CPU, SessionProgram

    device = HostDevice()
    model = spoils(graphs.straight(both.release.student))
    return GpuRuntime(
        *(both.release, 1, (Tier.STUDENT,), device),
        lambda _: SessionProgram(model, CPU, device, "the student"),
        (*BUCKETS, 1024),
        every=0,
    )


def biased(model: bytes) -> bytes:
    """A graph whose noise is a little off, as a wrong constant would leave it."""
    proto = onnx.load_from_string(model)
    for each in proto.graph.initializer:
        if each.name == "bias_out_all":
            bias = numpy_helper.to_array(each).copy()
            bias[:, ::7] += 0.5
            each.CopyFrom(numpy_helper.from_array(bias, each.name))
    return proto.SerializeToString()


class TestGate:
    """Rows of equal noise, compared."""

    def test_the_graph_without_ifs_passes(self, both: Both) -> None:
        rows = reference(both.cpu, (Tier.STUDENT,), ROWS)
        drawn = candidate(rewritten(both, lambda model: model), Tier.STUDENT, rows)
        found = compare(rows.expected[Tier.STUDENT], drawn, DETECTOR)
        assert (found.rows, found.equal) == (ROWS, 1.0)
        assert found.passed, found.failures

    def test_a_perturbed_graph_fails_both_measures(self, both: Both) -> None:
        rows = reference(both.cpu, (Tier.STUDENT,), ROWS)
        drawn = candidate(rewritten(both, biased), Tier.STUDENT, rows)
        found = compare(rows.expected[Tier.STUDENT], drawn, DETECTOR)
        assert len(found.failures) == 2
        assert "% of 8,000 rows are equal; at least 99.5 % must be" in found.failures[0]
        assert "a detector tells the runtimes apart: its AUC is" in found.failures[1]

    def test_the_teachers_passes_on_the_device_pass(self, both: Both) -> None:
        rows = reference(both.cpu, (Tier.TEACHER,), 500)
        drawn = candidate(both_with_larger_batches(both), Tier.TEACHER, rows)
        assert np.array_equal(drawn, rows.expected[Tier.TEACHER])

    def test_half_of_the_rows_are_known_in_part(self, both: Both) -> None:
        rows = reference(both.cpu, (Tier.STUDENT,), 2000)
        share = (rows.observed.any(axis=1)).mean()
        assert 0.3 < share < 0.5
        drawn = rows.expected[Tier.STUDENT]
        assert (drawn[rows.observed] == rows.tokens[rows.observed]).all()


def both_with_larger_batches(both: Both) -> GpuRuntime:
    from tests.server.engines.gpu.conftest import program

    device = HostDevice()
    return GpuRuntime(
        *(both.release, 1, (Tier.TEACHER,), device),
        lambda tier: program(both.release, tier, device),
        (1024,),
        every=0,
    )


class TestMeasures:
    """The parts of the gate."""

    def test_auc_is_scikit_learns(self) -> None:
        rng = np.random.default_rng(0)
        negatives, positives = rng.integers(0, 9, 400) / 9, rng.integers(1, 10, 300) / 9
        label = np.repeat([0, 1], [400, 300])
        expected = roc_auc_score(label, np.concatenate([negatives, positives]))
        assert auc(negatives, positives) == pytest.approx(expected, abs=1e-12)

    def test_the_standard_error_is_that_of_scores_that_say_nothing(self) -> None:
        rng = np.random.default_rng(0)
        values = [auc(rng.random(200), rng.random(300)) for _ in range(2000)]
        # The error of a standard deviation from 2,000 values is 1.6 % of it.
        assert np.std(values) == pytest.approx(auc_error(200, 300), rel=0.08)

    @pytest.mark.parametrize(
        ("equal", "value", "failures"),
        [(0.995, 0.5, 0), (0.9949, 0.5, 1), (1.0, 0.53, 0), (1.0, 0.532, 1), (0.9, 0.6, 2)],
    )
    def test_what_passes(self, equal: float, value: float, failures: int) -> None:
        found = Parity(100_000, equal, value, 0.01)
        assert (len(found.failures), found.passed) == (failures, failures == 0)
