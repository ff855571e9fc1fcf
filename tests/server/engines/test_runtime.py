"""ONNX Runtime over a release."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_server.engines.runtime import MAX_BATCH, TEACHER_PART, Runtime, padded_rows
from cascade_tables import ReleaseError, load_release
from numpy.typing import NDArray

from tests.releases import TABLE

BUNDLED = Path(__file__).parents[3] / "model_repository"


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


def test_runs_are_of_few_numbers_of_rows() -> None:
    """ONNX Runtime keeps something for each, for as long as it lives."""
    made = [padded_rows(rows) for rows in range(1, MAX_BATCH + 1)]
    assert made[:17] == [*range(1, 17), 18]
    assert len({each for each in made if each <= TEACHER_PART}) == 48
    assert len(set(made)) == 64
    assert made == sorted(made)
    assert all(rows <= each < 1.125 * rows for rows, each in enumerate(made, 1))
    # What is run most often offline is not made more.
    assert padded_rows(TEACHER_PART) == TEACHER_PART


def test_networks_are_run_with_them(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tiers, and what scores rows."""
    runtime = Runtime(load_release(repository, TABLE, 1), compiled=False)
    fed: list[tuple[int, ...]] = []

    class Sees:
        """A session that tells what it was fed."""

        def __init__(self, session: Any) -> None:
            self._session = session

        def run(self, outputs: Any, feed: dict[str, NDArray[Any]]) -> Any:
            fed.append(tuple({len(each) for each in feed.values()}))
            return self._session.run(outputs, feed)

    sessions = {tier: Sees(session) for tier, session in runtime._sessions.items()}
    monkeypatch.setattr(runtime, "_sessions", sessions)
    tokens = np.zeros((41, runtime.slots), np.int32)
    nothing = np.zeros(tokens.shape, np.bool_)
    runtime.draw_student(tokens, nothing, np.full((41, runtime.student_noise), 0.5, np.float32))
    width = runtime.teacher_noise - runtime.columns
    drawn = runtime.denoise(tokens, nothing, np.full((41, width), 0.5, np.float32))
    assert fed == [(44,), (44,)]
    fed.clear()
    runtime.log_likelihood(drawn, ~nothing)
    assert {padded_rows(rows) for (rows,) in fed} == {rows for (rows,) in fed}


def test_rows_beside_which_nobody_asked_for_some_are_those_of_their_own(repository: Path) -> None:
    runtime = Runtime(load_release(repository, TABLE, 1), compiled=False)
    rng = np.random.default_rng(0)
    rows = 41
    assert padded_rows(rows) == 44
    tokens = np.zeros((rows, runtime.slots), np.int32)
    observed = np.zeros(tokens.shape, np.bool_)
    student = rng.random((rows, runtime.student_noise), dtype=np.float32)
    teacher = rng.random((rows, runtime.teacher_noise - runtime.columns), dtype=np.float32)
    for draw, noise in ((runtime.draw_student, student), (runtime.denoise, teacher)):
        together = draw(tokens, observed, noise)
        apart = [draw(tokens[:8], observed[:8], noise[at : at + 8]) for at in (0, 8, 16, 24, 32)]
        np.testing.assert_array_equal(together[:40], np.concatenate(apart))
        assert len(together) == rows
    scores = runtime.log_likelihood(together, np.ones(tokens.shape, np.bool_))
    np.testing.assert_allclose(
        scores[:8],
        runtime.log_likelihood(together[:8], np.ones((8, runtime.slots), np.bool_)),
        rtol=1e-5,
    )


GROWTH = """
import json, sys
from pathlib import Path
import psutil
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_tables import load_release

release = load_release(Path(sys.argv[1]), "credit", 2)
kept, sizes = [], []
for _ in range(5):
    kept.append(Runtime(release, tiers=[Tier.TEACHER]))
    kept[-1].warm()
    sizes.append(psutil.Process().memory_info().rss)
print(json.dumps((sizes[-1] - sizes[0]) / (len(sizes) - 1) / len(release.teacher)))
"""


def test_networks_of_a_process_share_what_their_passes_take() -> None:
    words = (sys.executable, "-c", GROWTH, str(BUNDLED))
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    # Its weights, as they are and as they are laid out to be multiplied by, but no arena: with one
    # each it is nine times the weights.
    assert json.loads(done.stdout) < 6
