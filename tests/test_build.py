"""The build hook: what it compiles, and what it says where it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cascade_server.engines.native import library as student
from cascade_tables.codecs.native import library as codec

from hatch_build import CODEC, STUDENT, Compiled, build, compiler

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree that has nothing but what is compiled."""
    for each in (STUDENT, CODEC):
        (tmp_path / each.source).parent.mkdir(parents=True)
        for path in (ROOT / each.source).parent.glob("*.[ch]"):
            shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
@pytest.mark.parametrize(("compiled", "loader"), [(STUDENT, student), (CODEC, codec)])
def test_it_makes_a_library_that_loads_and_nothing_else(
    tree: Path, compiled: Compiled, loader: Any
) -> None:
    folder = (tree / compiled.library).parent
    before = {path.name for path in folder.iterdir()}
    assert build(compiled, tree) == ""
    assert isinstance(loader.load_library(tree / compiled.library), loader.Library)
    assert {path.name for path in folder.iterdir()} == before | {compiled.library.name}
    assert ROOT / compiled.library == loader.PATH


def test_a_compiler_that_fails_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "nocompiler --with options")
    assert build(STUDENT, tree).startswith("nocompiler --with options failed: ")
    assert not (tree / STUDENT.library).exists()


def test_a_machine_without_a_compiler(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tree))
    assert "there is no C compiler" in build(STUDENT, tree)
