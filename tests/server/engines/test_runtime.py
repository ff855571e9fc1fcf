"""ONNX Runtime over a release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cascade_server.engines.runtime import MAX_BATCH, Runtime
from cascade_tables import ReleaseError, load_release

from tests.releases import TABLE


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_a_graph_that_cannot_be_run_is_named(repository: Path, tier: str) -> None:
    release = load_release(repository, TABLE, 1)
    broken = replace(release, student=b"no graph") if tier == "student" else None
    broken = broken or replace(release, teacher=b"no graph")
    with pytest.raises(ReleaseError, match=f"payments's {tier} cannot be run by ONNX Runtime"):
        Runtime(broken)


def test_observed_tokens_come_back_untouched_beyond_a_batch(repository: Path) -> None:
    runtime = Runtime(load_release(repository, TABLE, 1))
    rng = np.random.default_rng(0)
    rows = MAX_BATCH + 3
    sizes = np.array(runtime.layout.sizes)
    tokens = rng.integers(0, sizes, (rows, len(sizes))).astype(np.int32)
    known = rng.random((rows, len(set(runtime.layout.column)))) < 0.5
    observed = known[:, list(runtime.layout.column)]
    student = rng.random((rows, runtime.student_noise), dtype=np.float32)
    teacher = rng.random((rows, runtime.teacher_noise - runtime.columns), dtype=np.float32)
    for drawn in (
        runtime.draw_student(tokens, observed, student),
        runtime.denoise(tokens, observed, teacher),
    ):
        assert (drawn[observed] == tokens[observed]).all()
        assert ((drawn >= 0) & (drawn < sizes)).all()
        assert (drawn != tokens)[~observed].any()


@pytest.mark.parametrize(("tier", "other"), [("student", 2**24), ("teacher", 7)])
def test_noise_that_the_graph_does_not_take_is_refused(
    repository: Path, tier: str, other: int
) -> None:
    """Before a batch of it is made, which may be more than there is memory for."""
    release = load_release(repository, TABLE, 1)
    said = {**getattr(release.manifest, tier), "noise_width": other}
    manifest = replace(release.manifest, **{tier: said})
    with pytest.raises(ReleaseError, match=rf"{tier} takes \d+ numbers of noise a row, but "):
        Runtime(replace(release, manifest=manifest))
