"""The build hook: what it compiles, and what it says where it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cascade_server.engines.native.library import Library, load_library

from hatch_build import LIBRARY, SOURCE, build, compiler

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree that has nothing but what is compiled."""
    (tmp_path / SOURCE).parent.mkdir(parents=True)
    for path in (ROOT / SOURCE).parent.glob("*.[ch]"):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
def test_it_makes_a_library_that_loads_and_nothing_else(tree: Path) -> None:
    folder = (tree / LIBRARY).parent
    before = {path.name for path in folder.iterdir()}
    assert build(tree / SOURCE, tree / LIBRARY) == ""
    assert isinstance(load_library(tree / LIBRARY), Library)
    assert {path.name for path in folder.iterdir()} == before | {LIBRARY.name}


def test_a_compiler_that_fails_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "nocompiler --with options")
    assert build(tree / SOURCE, tree / LIBRARY).startswith("nocompiler --with options failed: ")
    assert not (tree / LIBRARY).exists()


def test_a_machine_without_a_compiler(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tree))
    assert "there is no C compiler" in build(tree / SOURCE, tree / LIBRARY)
