"""A director of generations, with processes that are only said to be, and a clock that is set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade_server.config import ServerConfig
from cascade_server.releases.found import Found, Seen
from cascade_server.releases.generation import ReleaseConfig
from cascade_server.releases.generations import Generations
from cascade_server.supervision.crews import Begin, Crew, Member, Phase, Role


class End:
    """A line on which everything that is told is kept."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def sendall(self, content: bytes) -> None:
        self.told += map(json.loads, content.splitlines())


class Repository:
    """A source, of which a test says what it holds: digests by table and version."""

    name, path = "the repository", Path("nowhere")

    def __init__(self, is_remote: bool = False, **tables: Mapping[int, str]) -> None:
        self.is_remote, self.tables = is_remote, dict(tables)

    def look(self) -> Found:
        releases = {
            (table, version): Seen(digest, "today")
            for table, versions in self.tables.items()
            for version, digest in versions.items()
        }
        return Found({table: sorted(each) for table, each in self.tables.items()}, releases)

    def fetch(self, wanted: Callable[[Found], Any]) -> Found:
        wanted(self.look())
        return self.look()

    def knows(self, found: Found) -> None:
        """It does."""


class Crews:
    """Keeps what the director has asked for."""

    def __init__(self) -> None:
        self.started: list[Crew] = []
        self.dismissed: list[tuple[Crew, float, float]] = []
        self.pids = 1000

    def start(self, name: str, roles: Sequence[Role], begin: Begin) -> Crew:
        crew = Crew(name, begin)
        for role in roles:
            self.pids += 1
            end: Any = End()
            crew.members.append(Member(role, crew, pid=self.pids, end=end))
        self.started.append(crew)
        return crew

    def serves(self, crew: Crew) -> None:
        crew.phase = Phase.SERVING

    def dismiss(self, crew: Crew, grace: float, after: float = 0.0) -> None:
        crew.phase = Phase.LEAVING
        self.dismissed.append((crew, grace, after))


def life(*_: object) -> None:
    raise AssertionError("no process is started here")


class Directed:
    """The director, and what is said to it in the place of processes."""

    def __init__(self, source: Repository, state_dir: Path | None = None, **releases: Any) -> None:
        self.source, self.crews, self.now = source, Crews(), 0.0
        self.said: list[str] = []
        self.served = 0
        self.numbers = 0
        roles = [Role("worker 0", life), Role("the teacher", life, last=True)]
        config = ServerConfig(
            repository=Path("nowhere"), drain_seconds=7.0, state_dir=state_dir, port=1
        )
        self.director = Generations(
            config,
            ReleaseConfig(**releases),
            source,
            1,
            self.crews,
            lambda _: roles,
            lambda _: (),
            self.said.append,
            self.serving,
            clock=lambda: self.now,
        )

    def serving(self) -> None:
        self.served += 1

    @property
    def newest(self) -> Crew:
        """The crew that was started last."""
        return self.crews.started[-1]

    def ready(self, crew: Crew) -> None:
        crew.phase = Phase.READY
        for member in crew.members:
            member.ready = True
        self.director.ready(crew)

    def fails(self, crew: Crew, why: str, culprit: tuple[str, int] | None = None) -> None:
        """As the supervisor has it: it is dismissed, then told of, then gone."""
        if culprit is not None:
            self.director.said(crew.members[0], {"error": why, "release": list(culprit)})
        self.crews.dismiss(crew, 0.0)
        self.director.failed(crew, why)
        self.gone(crew)

    def gone(self, crew: Crew) -> None:
        for member in crew.members:
            member.pid = 0
        self.director.left(crew)

    def answer(self, crew: Crew, what: str) -> None:
        """Each member says that it has done something."""
        for member in crew.members:
            self.director.said(member, {what: True})

    def told(self, crew: Crew) -> list[Any]:
        """What the first worker was told to do."""
        return [each["do"] for each in end_of(crew).told if "do" in each]

    def ask(self, what: str, crew: Crew | None = None, **given: Any) -> int:
        """A worker's caller asks, one of the generation that answers; returns the question's
        number."""
        self.numbers += 1
        current = self.director.current
        assert current is not None
        crew = crew or current.crew
        assert crew is not None
        asked = {"ask": what, "number": self.numbers, **given}
        self.director.said(crew.members[0], asked)
        return self.numbers

    def answered(self, number: int) -> dict[str, Any] | None:
        """What who asked was told; None: nothing yet."""
        for crew in self.crews.started:
            for each in end_of(crew).told:
                if each.get("answer") == number:
                    return each
        return None

    def answer_to(self, number: int) -> dict[str, Any]:
        """What who asked was told, which is something."""
        said = self.answered(number)
        assert said is not None
        return said

    def look(self) -> float:
        return self.director.look(self.now)

    def take_over(self, crew: Crew) -> None:
        """All the way, from ready to the end of the one before."""
        self.gone(self.swap(crew))

    def swap(self, crew: Crew) -> Crew:
        """As far as the one before has been told to leave; returns that one."""
        self.ready(crew)
        return self.end_swap(crew)

    def end_swap(self, crew: Crew) -> Crew:
        """The same from when it has been told to accept connections."""
        current = self.director.current
        assert current is not None
        before = current.crew
        assert before is not None
        self.answer(crew, "accepting")
        self.look()
        self.answer(before, "retired")
        self.look()
        return before

    def versions(self) -> dict[str, list[int]]:
        """What is loaded, by table."""
        current = self.director.current
        assert current is not None
        return {table: list(each) for table, each in current.versions.items()}


def end_of(crew: Crew) -> End:
    end: Any = crew.members[0].end
    assert isinstance(end, End)
    return end


def begun(source: Repository, **releases: Any) -> Directed:
    """A director whose first generation serves."""
    directed = Directed(source, **releases)
    directed.director.begin()
    directed.ready(directed.newest)
    return directed
