"""The build hook: what it compiles, and what it says where it cannot."""

from __future__ import annotations

import ctypes
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from cascade_server.engines.native import library as student
from cascade_tables.codecs.native import library as codec
from cascade_tables.compiled import load

import hatch_build
from hatch_build import CODEC, STUDENT, Compiled, build, compiler

ROOT = Path(__file__).resolve().parent.parent
SMALL = Compiled(Path("walk.c"), Path("walk.so"))


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
    tree: Path, compiled: Compiled, loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is made with the package is optimised, and tested for what it draws and writes; to
    # optimise it once more, only to load it, takes most of a minute.
    flags = [flag for flag in hatch_build.FLAGS if flag != "-O3"]
    assert len(flags) == len(hatch_build.FLAGS) - 1
    monkeypatch.setattr(hatch_build, "FLAGS", flags)
    folder = (tree / compiled.library).parent
    before = {path.name for path in folder.iterdir()}
    assert build(compiled, tree) == ""
    assert isinstance(loader.load_library(tree / compiled.library), loader.Library)
    assert {path.name for path in folder.iterdir()} == before | {compiled.library.name}
    assert ROOT / compiled.library == loader.PATH


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A library of few lines, which takes no time to compile, beside its sources."""
    if compiler() is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "walk.h").write_text("#include <stdint.h>\n")
    (tmp_path / "walk.c").write_text(
        '#include "walk.h"\n'
        "int32_t walk_version(void) { return 3; }\n"
        "const char *walk_sources(void) { return SOURCES; }\n"
    )
    assert build(SMALL, tmp_path) == ""
    return tmp_path / "walk.so"


def loaded(path: Path) -> ctypes.PyDLL | str:
    return load(path, "walk", 3, "walk")


class TestSources:
    """A library of other sources would draw as before they were edited, and nobody would know."""

    def test_it_is_used_beside_those_it_was_made_of(self, small: Path) -> None:
        assert isinstance(loaded(small), ctypes.PyDLL)

    @pytest.mark.parametrize("edited", ["walk.c", "walk.h", "more.h"])
    def test_it_is_not_used_beside_others(
        self, small: Path, edited: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with small.with_name(edited).open("a") as file:
            file.write("/* an edit */\n")
        caplog.set_level(logging.INFO, "cascade.tables")
        found = loaded(small)
        assert str(found).startswith("walk.so was not made of the sources beside it; ")
        assert str(found).endswith("install cascade-synthesis again")
        [said] = caplog.records
        assert said.levelname == "WARNING"
        assert said.getMessage() == (
            "walk.so was not made of the sources beside it, and is not used; "
            "install cascade-synthesis again"
        )
        # Another file: one that was loaded stays so for as long as the process lives.
        assert build(SMALL, small.parent, small.with_name("again.so")) == ""
        assert isinstance(loaded(small.with_name("again.so")), ctypes.PyDLL)

    def test_one_that_does_not_know_is_not_used(self, small: Path) -> None:
        source = small.with_name("walk.c")
        source.write_text(source.read_text().replace("walk_sources", "walk_other"))
        assert build(SMALL, small.parent, small.with_name("older.so")) == ""
        assert "was not made of" in str(loaded(small.with_name("older.so")))

    def test_one_without_sources_beside_it_is_used(self, small: Path) -> None:
        alone = small.with_name("alone")
        alone.mkdir()
        assert isinstance(loaded(small.rename(alone / small.name)), ctypes.PyDLL)

    def test_one_of_another_version_is_not_used(self, small: Path) -> None:
        assert "is of version 3, not 4" in str(load(small, "walk", 4, "walk"))


@pytest.mark.parametrize(("compiled", "loader"), [(STUDENT, student), (CODEC, codec)])
def test_the_library_of_this_tree_is_of_its_sources(compiled: Compiled, loader: Any) -> None:
    """Else all that is compiled goes untested: install again (make does)."""
    if not (ROOT / compiled.library).exists():
        pytest.skip(f"{compiled.library} was not built")
    assert isinstance(loader.load_library(ROOT / compiled.library), loader.Library)


def test_a_compiler_that_fails_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "nocompiler --with options")
    assert build(STUDENT, tree).startswith("nocompiler --with options failed: ")
    assert not (tree / STUDENT.library).exists()


def test_a_machine_without_a_compiler(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tree))
    assert "there is no C compiler" in build(STUDENT, tree)
