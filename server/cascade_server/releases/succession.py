"""Replaces one generation of processes by the next, with the actions of `states.Action`.

Releases are loaded by a generation of new processes while the one before answers. When all are
ready, the new generation accepts connections; then the old one stops accepting, sends its callers
over, finishes its calls and ends. A generation that cannot become ready changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cascade_tables import CascadeTablesError

from cascade_server.config import ServerConfig
from cascade_server.counts.shared.books import Books
from cascade_server.errors import NotAllowed, NotReady, ServerError
from cascade_server.releases.catalogue import Catalogue
from cascade_server.releases.changes import Change, Turn
from cascade_server.releases.fetching import Fetching, fetch
from cascade_server.releases.found import Source
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.listing import listed
from cascade_server.releases.next_generation import Planner, carry_over
from cascade_server.releases.rollout import Rollout
from cascade_server.releases.states import Action, Event, State, follows
from cascade_server.releases.trials import Trials
from cascade_server.releases.waiting import Waiting
from cascade_server.supervision.crews import Begin, Crew, Crews, Member, Role

log = logging.getLogger("cascade.server")

# Seconds that calls in a generation may take once another has taken over, unless a third one
# hurries them.
LONGEST_STAY = 3600.0
KEEPERS = "the books' keeper"
AS_BEFORE = "what was served goes on being served"


class Succession:
    """Moves between states: it looks up an event in `states.TABLE` and performs the actions.

    Attributes:
        state: the server's state between one generation and the next.
        current: the generation that answers; None if none does yet.
        catalogue: the available and the desired releases.

    Args:
        config: the server's configuration, with its port.
        releases: which releases to load.
        source: the repository.
        workers: workers of a generation.
        crews: starts processes.
        roles: returns the roles of a generation.
        keeper: returns the roles that keep a server's books; empty if none are needed.
        say: prints what a person at the terminal should know.
        serving: called once, when all are ready for the first time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: ServerConfig,
        releases: ReleaseConfig,
        source: Source,
        workers: int,
        crews: Crews,
        roles: Callable[[Generation], Sequence[Role]],
        keeper: Callable[[Books], Sequence[Role]],
        say: Callable[[str], None],
        serving: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._releases = config, releases
        planner = Planner(config, releases, workers, clock)
        self.catalogue = Catalogue(source, releases, planner, config.state_dir)
        self._crews, self._roles, self._keeper = crews, roles, keeper
        self._say, self._serving, self._clock = say, serving, clock
        self.state = State.NEW
        self.current: Generation | None = None
        # The next generation, and the crew that is leaving.
        self._next: Generation | None = None
        self._leaving: Generation | None = None
        self._keepers: Crew | None = None
        # The current turn, and the waiting changes.
        self._turn = Turn([Change("begin")])
        self._waiting = Waiting()
        # Members that were told something and have not confirmed it.
        self._awaited: set[Member] = set()
        self._rollout = Rollout(Trials(releases.canary, clock), say)
        self._fetching: Fetching | None = None
        self._since = 0
        self._error: ServerError = NotAllowed("")
        self._do: Mapping[Action, Callable[[], None]] = {
            Action.FETCH: self._fetch,
            Action.LOAD: self._load,
            Action.GIVE_UP: self._give_up,
            Action.REFUSE: self._refuse,
            Action.SERVE: self._serve,
            Action.ACCEPT: self._accept,
            Action.RETIRE: self._retire,
            Action.LEAVE: self._leave,
            Action.TAKE_OVER: self._take_over,
            Action.HURRY: self._hurry,
        }

    def _happens(self, event: Event) -> None:
        """Move to the next state, and perform its actions."""
        self.state, actions = follows(self.state, event)
        for action in actions:
            self._do[action]()

    @property
    def _want(self) -> Event:
        return Event.WANTED_FAR if self.catalogue.source.is_remote else Event.WANTED

    # The actions; see `states.Action`.

    def _fetch(self) -> None:
        wanted = self.catalogue.to_fetch(self._turn, self.current)
        begin = Begin.FIRST if self.current is None else Begin.NEXT
        role = Role("the fetcher", partial(fetch, self.catalogue.source, wanted), once=True)
        crew = self._crews.start(f"fetching {self.catalogue.source.name}", [role], begin)
        self._fetching = Fetching(crew)

    def _load(self) -> None:
        if self.current is None:
            self._load_first()
            return
        turn, before = self._turn, self.current
        try:
            generation = self.catalogue.following(turn, before)
        # A machine may lack memory or open files now, and have some later.
        except (ServerError, CascadeTablesError, OSError) as exc:
            turn.failed(exc if isinstance(exc, ServerError) else NotReady(str(exc)))
            if turn.has_silent:
                log.error("the releases stay as they are: %s", exc)
            self._happens(Event.UNCHANGED)
            return
        if generation is None:
            self._happens(Event.UNCHANGED)
            return
        is_known_to_fail = turn.is_a_poll and self.catalogue.was_tried(generation)
        is_loaded = generation.digests == before.digests and (turn.is_a_poll or bool(turn.refused))
        if is_loaded or is_known_to_fail:
            self._close_board(generation)
            if not turn.is_a_poll:
                # The other changes need no loading, and apply from now on.
                before.desired = generation.desired
                self._rollout.apply(before)
                self.catalogue.keep(before.desired)
            turn.ended(self.listing(), AS_BEFORE)
            self._happens(Event.UNCHANGED)
            return
        self._say(f"loading generation {generation.number}: {generation}")
        self._launch(generation, Begin.NEXT)

    def _load_first(self) -> None:
        generation = self.catalogue.first(self._turn)
        self._launch(generation, Begin.FIRST)
        if roles := self._keeper(generation.books):
            self._keepers = self._crews.start(KEEPERS, roles, Begin.FIRST)

    def _launch(self, generation: Generation, begin: Begin) -> None:
        self._next = generation
        name = f"generation {generation.number} ({generation})"
        generation.crew = self._crews.start(name, self._roles(generation), begin)

    def _give_up(self) -> None:
        raise self._error

    def _refuse(self) -> None:
        # Unless the rest of the turn is tried again.
        if not self._waiting.is_tried_again(self._turn):
            self._turn.failed(self._error)

    def _serve(self) -> None:
        crew = self._crew_of(self._next)
        self._crews.serves(crew)
        assert self._next is not None
        self._rollout.apply(self._next)

    def _accept(self) -> None:
        crew = self._crew_of(self._next)
        self._awaited = {each for each in crew.members if each.tell(do="accept")}

    def _retire(self) -> None:
        crew = self._crew_of(self.current)
        self._leaving = self.current
        self._crews.dismiss(crew, self._config.drain_seconds, LONGEST_STAY)
        self._awaited = {each for each in crew.members if each.tell(do="retire")}

    def _leave(self) -> None:
        for member in self._crew_of(self.current).members:
            member.tell(do="leave")

    def _take_over(self) -> None:
        generation, before = self._next, self.current
        assert generation is not None
        if before is not None and before.books is not generation.books:
            carry_over(before.books, generation.books)
            if self._keepers is not None:
                self._crews.dismiss(self._keepers, self._config.drain_seconds)
        self._next, self.current = None, generation
        self._since = time.time_ns() // 1000
        self.catalogue.refusals.forget(generation.digests)
        self.catalogue.keep(generation.desired)
        if generation.first:
            return
        generation.books.live_versions.count("loaded")
        generation.turn.ended(self.listing(), "all else is loaded and answers")
        self._waiting.give_back(self._crew_of(before), self._clock())
        seconds = self._clock() - generation.began
        self._say(f"generation {generation.number} has taken over, after {seconds:.2f} s")

    def _hurry(self) -> None:
        self._crews.dismiss(self._crew_of(self._leaving), self._config.drain_seconds)

    @staticmethod
    def _crew_of(generation: Generation | None) -> Crew:
        assert generation is not None
        assert generation.crew is not None
        return generation.crew

    @staticmethod
    def _close_board(generation: Generation) -> None:
        if generation.board is not None:
            generation.board.close()

    def listing(self) -> dict[str, Any]:
        """Return the current state, as `ReleasesResponse`."""
        assert self.current is not None
        releases = listed(
            self.catalogue.found,
            self.current,
            self._next,
            self.catalogue.desired,
            self.catalogue.refusals.reasons,
            self._rollout.trials.reasons,
        )
        return {
            "releases": releases,
            "generation": self.current.number,
            "since": self._since,
            "policies": self.catalogue.policies(),
        }
