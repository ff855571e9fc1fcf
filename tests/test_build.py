"""The build hook: what it compiles, and what it says where it cannot."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from cascade_server.engines.native.library import VERSION, Library, load_library

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


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A library of few lines, which takes no time to compile, beside its sources."""
    if compiler() is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "walk.h").write_text("#include <stdint.h>\n")
    (tmp_path / "walk.c").write_text(
        '#include "walk.h"\n'
        f"int32_t cascade_student_walk_version(void) {{ return {VERSION}; }}\n"
        "int32_t cascade_student_walk_half(void) { return 0; }\n"
        "int64_t cascade_student_walk(void) { return 0; }\n"
        "const char *cascade_student_walk_sources(void) { return SOURCES; }\n"
    )
    assert build(tmp_path / "walk.c", tmp_path / "walk.so") == ""
    return tmp_path / "walk.so"


class TestSources:
    """A library of other sources would draw as before they were edited, and nobody would know."""

    def test_it_is_used_beside_those_it_was_made_of(self, small: Path) -> None:
        assert isinstance(load_library(small), Library)

    @pytest.mark.parametrize("edited", ["walk.c", "walk.h", "more.h"])
    def test_it_is_not_used_beside_others(
        self, small: Path, edited: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with small.with_name(edited).open("a") as file:
            file.write("/* an edit */\n")
        caplog.set_level(logging.INFO, "cascade.server")
        for _ in range(2):
            found = load_library(small)
            assert str(found).startswith("walk.so was not made of the sources beside it; ")
            assert str(found).endswith("install cascade-synthesis again")
        [said] = caplog.records
        assert said.levelname == "WARNING"
        assert said.getMessage() == (
            "walk.so was not made of the sources beside it, and is not used; "
            "install cascade-synthesis again"
        )
        # Another file: one that was loaded stays so for as long as the process lives.
        assert build(small.with_name("walk.c"), small.with_name("again.so")) == ""
        assert isinstance(load_library(small.with_name("again.so")), Library)

    def test_one_that_does_not_know_is_not_used(self, small: Path) -> None:
        source = small.with_name("walk.c")
        source.write_text(source.read_text().replace("walk_sources", "walk_other"))
        assert build(source, small.with_name("older.so")) == ""
        assert "was not made of" in str(load_library(small.with_name("older.so")))

    def test_one_without_sources_beside_it_is_used(self, small: Path) -> None:
        alone = small.with_name("alone")
        alone.mkdir()
        assert isinstance(load_library(small.rename(alone / small.name)), Library)


@pytest.mark.skipif(not (ROOT / LIBRARY).exists(), reason="it was not built")
def test_the_library_of_this_tree_is_of_its_sources() -> None:
    """Else all that is compiled goes untested: install again (make does)."""
    assert isinstance(load_library(ROOT / LIBRARY), Library)


def test_a_compiler_that_fails_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "nocompiler --with options")
    assert build(tree / SOURCE, tree / LIBRARY).startswith("nocompiler --with options failed: ")
    assert not (tree / LIBRARY).exists()


def test_a_machine_without_a_compiler(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tree))
    assert "there is no C compiler" in build(tree / SOURCE, tree / LIBRARY)
