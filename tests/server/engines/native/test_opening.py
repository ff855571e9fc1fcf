"""A student that cannot be compiled, or draws otherwise, is run by ONNX Runtime, which says why."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cascade_server.engines.native import walk as module
from cascade_server.engines.native.library import VERSION, load_library
from cascade_server.engines.native.walk import Mask, Noise, Tokens, open_walk
from cascade_server.engines.runtime import Runtime
from cascade_tables import load_release

from tests.server.engines.native.compiled import BUNDLED, LIBRARY

pytestmark = pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(load_release(BUNDLED, "credit", 1), compiled=False)


class TestOpening:
    """What cannot be compiled, or draws otherwise, is left to ONNX Runtime, which says why."""

    def test_the_default_is_compiled(self) -> None:
        release = load_release(BUNDLED, "credit", 1)
        assert Runtime(release).student_by == "compiled code"
        assert Runtime(release, compiled=False).student_by == "ONNX Runtime"
        assert Runtime(release, tiers=()).student_by == ""

    def test_a_student_that_draws_otherwise(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        def other(tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
            return runtime.draw_student(tokens, observed, noise[:, ::-1].copy())

        opened = open_walk(runtime.release.student, runtime.layout, other, "credit v1's student")
        assert opened is None
        assert "credit v1's student is run by ONNX Runtime: compiled it drew oth" in caplog.text

    def test_a_graph_that_fails_for_some_rows(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What it does with a request is for whoever judges releases to see."""

        def failing(tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
            raise RuntimeError("index out of bounds")

        assert open_walk(runtime.release.student, runtime.layout, failing, "it") is None
        assert "it is run by ONNX Runtime, where it failed for some rows (Runtime" in caplog.text

    def test_another_graph(self, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
        teacher = runtime.release.teacher
        assert open_walk(teacher, runtime.layout, runtime.draw_student, "it") is None
        assert "it is run by ONNX Runtime, not compiled: its weights are not" in caplog.text

    def test_no_library(
        self,
        runtime: Runtime,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level(logging.INFO, "cascade.server")
        missing = load_library(Path("nowhere.so"))
        monkeypatch.setattr(module, "load_library", lambda: missing)
        student = runtime.release.student
        assert open_walk(student, runtime.layout, runtime.draw_student, "it") is None
        assert "it is run by ONNX Runtime: the compiled student is not there" in caplog.text
        assert "C compiler" in caplog.text

    def test_a_file_that_is_no_library(self, tmp_path: Path) -> None:
        (tmp_path / "it.so").write_bytes(b"no library")
        assert "it.so cannot be loaded" in str(load_library(tmp_path / "it.so"))

    def test_a_library_of_another_version(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cascade_server.engines.native import library

        monkeypatch.setattr(library, "VERSION", VERSION + 1)
        copy = tmp_path / "copy.so"
        copy.write_bytes(library.PATH.read_bytes())
        assert f"is of version {VERSION}, not {VERSION + 1}" in str(load_library(copy))


def test_a_runtime_answers_all_the_same_where_it_cannot_be_compiled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = load_release(BUNDLED, "adult", 1)
    compiled = Runtime(release)
    monkeypatch.setattr(module, "load_library", lambda: "there is none")
    by_graph = Runtime(replace(release))
    assert by_graph.student_by == "ONNX Runtime"
    rng = np.random.default_rng(0)
    shape = (20, compiled.slots)
    given = np.zeros(shape, np.int32), np.zeros(shape, bool)
    noise = rng.random((20, compiled.student_noise), np.float32)
    same = compiled.draw_student(*given, noise) == by_graph.draw_student(*given, noise)
    assert same.all(axis=1).mean() >= 1 - 1 / 20
