"""The map, docs/architecture.md, and the code agree: rooms are there, and import what they may."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs/architecture.md").read_text()
# Of a folder, and of a file: about fifteen and about four hundred, and never many more.
MOST_FILES, MOST_LINES = 16, 450
PACKAGES = {
    "proto": "cascade_proto",
    "tables": "cascade_tables",
    "client": "cascade_client",
    "jobs": "cascade_jobs",
    "cost": "cascade_cost",
    "server": "cascade_server",
    "distill": "cascade_distill",
    "loadtest": "cascade_loadtest",
    "cli": "cascade_cli",
}


@dataclass(frozen=True)
class Room:
    """A row of the map: what is in the room, as paths from the repository's root, and what it may
    import by the names of other rows of its table."""

    name: str
    paths: tuple[str, ...]
    may_import: frozenset[str]

    def holds(self, path: str) -> int:
        """How much of a file's path one of the room's own is; 0: the file is not in it."""
        found = [
            len(own)
            for own in self.paths
            if path == own or (own.endswith("/") and path.startswith(own))
        ]
        return max(found, default=0)


def rooms(heading: str, below: str = "") -> list[Room]:
    """The rows of the table under a heading, whose paths begin `below`."""
    section = MAP.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    out = []
    for row in re.findall(r"^\| ([a-z0-9_]+: .*) \|$", section, flags=re.MULTILINE):
        room, purpose, may = row.split(" | ")
        name, _, listed = room.partition(": ")
        assert len(purpose.split()) >= 4, f"{name}: its purpose is no sentence"
        allowed = frozenset() if may == "nothing" else frozenset(may.split(", "))
        out.append(
            Room(name, tuple(below + each for each in re.findall(r"`([^`]+)`", listed)), allowed)
        )
    assert out
    return out


PACKAGE_MAP = rooms("Packages")
SERVER_MAP = rooms("Rooms of the server", "server/cascade_server/")
OTHERS_MAP = rooms("Rooms of the other packages")


@dataclass(frozen=True)
class Tree:
    """The packages as they are."""

    graph: grimp.ImportGraph = field(
        default_factory=lambda: grimp.build_graph(*PACKAGES.values(), cache_dir=None)
    )

    def path(self, module: str) -> str:
        """A module's file."""
        package = module.partition(".")[0]
        folder = next(name for name, found in PACKAGES.items() if found == package)
        base = Path(folder, *module.split("."))
        return f"{base}/__init__.py" if (ROOT / base).is_dir() else f"{base}.py"

    def imports(self) -> Iterator[tuple[str, str]]:
        """Who imports whom, by their files."""
        for module in self.graph.modules:
            for found in self.graph.find_modules_directly_imported_by(module):
                yield self.path(module), self.path(found)

    def files(self) -> list[str]:
        """All files."""
        return sorted(self.path(module) for module in self.graph.modules)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


def room_of(path: str, among: list[Room]) -> Room | None:
    """The room that a file is in: of those that hold it, the one inside of all others."""
    best = max(among, key=lambda room: room.holds(path))
    return best if best.holds(path) else None


@pytest.mark.parametrize("among", [PACKAGE_MAP, SERVER_MAP, OTHERS_MAP])
def test_what_is_on_the_map_is_there(among: list[Room]) -> None:
    for room in among:
        for path in room.paths:
            assert (ROOT / path).exists(), f"{room.name}: {path} is not there"


def test_what_is_there_is_on_the_map(tree: Tree) -> None:
    """Every file of the server is in a room, and every folder of every package is one."""
    for path in tree.files():
        assert room_of(path, PACKAGE_MAP), path
        folder = path.rpartition("/")[0] + "/"
        package, inside = folder.split("/")[:2], folder.split("/")[2:-1]
        if package[0] == "server" and path != "server/cascade_server/__init__.py":
            room = room_of(path, SERVER_MAP)
            assert room is not None, f"{path} is in no room of docs/architecture.md"
            assert not inside or folder in room.paths, f"{folder} is not on docs/architecture.md"
        elif inside and package[0] != "server":
            room = room_of(path, OTHERS_MAP)
            assert room is not None, f"{folder} is not on docs/architecture.md"
            assert {path, folder} & {*room.paths}, f"{folder} is not on docs/architecture.md"


def is_face(path: str) -> bool:
    """Whether a file is the `__init__.py` of a package, which shows what all its rooms have."""
    return path.count("/") == 2 and path.endswith("__init__.py")


@pytest.mark.parametrize("among", [PACKAGE_MAP, SERVER_MAP, OTHERS_MAP])
def test_rooms_import_what_they_may(tree: Tree, among: list[Room]) -> None:
    wrong = set()
    for importer, imported in tree.imports():
        here, there = room_of(importer, among), room_of(imported, among)
        if here is None or there is None or here is there or is_face(importer):
            continue
        if among is OTHERS_MAP and importer.split("/")[0] != imported.split("/")[0]:
            continue  # The map of the packages says whether it may.
        if "every room" not in here.may_import and there.name not in here.may_import:
            wrong.add(f"{importer} imports {imported}: {here.name} may not import {there.name}")
    assert not sorted(wrong)


def test_rooms_that_are_named_are_rows(tree: Tree) -> None:
    for among in (PACKAGE_MAP, SERVER_MAP, OTHERS_MAP):
        names = {room.name for room in among}
        for room in among:
            assert room.may_import <= names | {"every room"}, room.name


def test_a_room_is_no_hall(tree: Tree) -> None:
    """Under about fifteen files, so that who looks for a thing finds it by reading the names."""
    for room in (*SERVER_MAP, *OTHERS_MAP):
        if room.name == "lives":
            continue
        own = [
            path
            for path in tree.files()
            if room_of(path, SERVER_MAP if "server/" in path else OTHERS_MAP) is room
            and not path.endswith("__init__.py")
        ]
        assert len(own) <= MOST_FILES, f"{room.name} has {len(own)} files"


@pytest.mark.parametrize("part", [*PACKAGES, "benchmarks", "tests", "examples"])
def test_files_and_folders_are_small(part: str) -> None:
    """What is read at one sitting, and found among its neighbours."""
    files = [path for path in (ROOT / part).rglob("*.py") if "_pb2" not in path.name]
    assert files
    long = {path: lines for path in files if (lines := path.read_text().count("\n")) > MOST_LINES}
    assert not long
    held = Counter(path.parent for path in files if path.name != "__init__.py")
    assert not {folder: count for folder, count in held.items() if count > MOST_FILES}


def test_the_walks_pass_files_that_are_there() -> None:
    """A path begins at the repository's root, in the server or in the tables; a name alone is some
    file's."""
    walks = MAP.split("\n## Five walks\n", 1)[1]
    names = {
        path.name
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder / package).rglob("*.py")
    }
    for step in re.findall(r"`([\w/]+\.(?:py|c)|[\w/]+/)`", walks):
        homes = ("", "server/cascade_server", "tables/cascade_tables")
        here = [ROOT / home / step for home in homes]
        assert any(path.exists() for path in here) or step in names, step


def test_a_walk_is_short() -> None:
    walks = MAP.split("\n## Five walks\n", 1)[1].split("\n### ")[1:]
    assert len(walks) == 5
    for walk in walks:
        lines = [line for line in walk.strip().split("\n")[1:] if line]
        assert len(lines) <= 12, walk.split("\n")[0]
