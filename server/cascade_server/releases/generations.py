"""Which processes answer, and which are to: the supervisor's decisions about releases.

What is loaded is loaded by a generation of new processes while the one before answers. When all of
it is ready it takes connections, then the one before takes no more, sends its callers over, ends
what is inside and is gone. A generation that cannot become ready leaves everything as it is. Which
version answers who names none is a matter of `live_versions`, and changes without any of that.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cascade_tables import CascadeTablesError

from cascade_server.config import ServerConfig
from cascade_server.counts.shared.books import Books
from cascade_server.errors import NotAllowed, NotReady, ServerError
from cascade_server.releases.catalogue import Catalogue
from cascade_server.releases.changes import Change
from cascade_server.releases.fetching import Fetching, fetch
from cascade_server.releases.found import Source
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.listing import listed
from cascade_server.releases.next_generation import Planner, carry_over
from cascade_server.releases.policy import Desired
from cascade_server.releases.refusals import goes_on_without
from cascade_server.releases.rollout import Rollout
from cascade_server.releases.states import Action, Event, State, follows
from cascade_server.releases.trials import Trials
from cascade_server.supervision.crews import Begin, Crew, Crews, Member, Role

log = logging.getLogger("cascade.server")

# Seconds that what is inside a generation may take once another has taken over, unless it is
# hurried by a third; between looks at trials; between looks at a change that is underway.
LONGEST_STAY, TRIAL_SECONDS, TICK = 3600.0, 1.0, 0.05
KEEPERS = "the books' keeper"
# Changes for which nothing has to be loaded.
AT_ONCE: Mapping[str, Callable[..., Desired]] = {
    "canary": Desired.on_trial,
    "promote": Desired.promoted,
    "roll_back": Desired.rolled_back,
}
AS_BEFORE = "what was served goes on being served"


class Generations:
    """Directs the supervisor: what happens is looked up in `states.TABLE`, what it says is done.

    Attributes:
        state: where the server is between one generation and the next.
        current: the generation that answers; None: none does yet.
        catalogue: what there is of releases, and what is wanted of it.

    Args:
        config: of the server, with its port.
        releases: what is loaded.
        source: the repository.
        workers: of a generation.
        crews: who starts processes.
        roles: of a generation.
        keeper: the roles that keep a server's books; none: nobody has to.
        say: is told what a person at the terminal should know.
        serving: is told once, when all are ready for the first time.
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
        # The generation that is on its way, and the crew that is on its way out.
        self._next: Generation | None = None
        self._leaving: Generation | None = None
        self._keepers: Crew | None = None
        self._said_serving = False
        # What is underway, and what waits for its turn.
        self._change = Change("begin")
        self._queue: deque[Change] = deque()
        # Members that have been told something, and have not said that they have done it.
        self._awaited: set[Member] = set()
        self._rollout = Rollout(Trials(releases.canary, clock), say)
        self._fetching: Fetching | None = None
        self._poll_at = self._judge_at = 0.0
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
        """Go to the state that follows, and do what is to be done."""
        self.state, actions = follows(self.state, event)
        for action in actions:
            self._do[action]()

    @property
    def _want(self) -> Event:
        return Event.WANTED_FAR if self.catalogue.source.is_remote else Event.WANTED

    def begin(self) -> None:
        """Start the first generation, and who keeps the books.

        Raises:
            ReleaseError: there is nothing to serve.
        """
        self.catalogue.restore()
        self._happens(self._want)

    @staticmethod
    def is_last(crew: Crew) -> bool:
        """The keeper saves what all have counted."""
        return crew.name == KEEPERS

    # What the supervisor says.

    def said(self, member: Member, what: dict[str, Any]) -> None:
        is_first = member.crew.begin is Begin.FIRST and self.current is None
        if "loaded" in what and member.role.name == "worker 0" and is_first:
            self._say(what["loaded"])
        if self._fetching is not None and member.crew is self._fetching.crew:
            self._fetching.said(what, self.catalogue.source)
        if "metrics" in what:
            self._say(what["metrics"])
        if "release" in what and self._next is not None:
            self._next.culprit = (what["release"][0], int(what["release"][1]))
        if not what.keys().isdisjoint(("accepting", "retired", "ready")):
            # Ready: who has died meanwhile, and was started again.
            self._awaited.discard(member)
        if "ask" in what:
            number, kind = what.pop("number"), what.pop("ask")
            self._ask(Change(kind, what, member, number))

    def ready(self, crew: Crew) -> None:
        if self._fetching is not None and crew is self._fetching.crew:
            self._crews.dismiss(crew, self._config.drain_seconds)
            self._fetching = None
            self._happens(Event.FETCHED)
            return
        if crew is self._keepers:
            self._crews.serves(crew)
        elif self._next is not None and crew is self._next.crew:
            self._happens(Event.READY)
        if self.current is not None and not self._said_serving:
            keeper = self._keepers
            if keeper is None or all(member.ready for member in keeper.members):
                self._said_serving = True
                self._serving()

    def failed(self, crew: Crew, why: str) -> None:
        if not self._said_serving:
            # Of the first generation, or of who keeps the books.
            self._error = ServerError(why)
            if self.state in (State.FETCHING_FIRST, State.LOADING_FIRST):
                self._happens(Event.FAILED)
            self._give_up()
        if self._fetching is not None and crew is self._fetching.crew:
            fetching, self._fetching = self._fetching, None
            log.error("nothing is loaded, and all goes on as before: %s", why)
            self.catalogue.look_again()
            culprit = fetching.culprit
            digest = "" if culprit is None else self.catalogue.found.digest(*culprit)
            self._error = fetching.error(f"{why}; {AS_BEFORE}")
        elif self._next is not None and crew is self._next.crew:
            failed, self._next = self._next, None
            self._leaving = failed
            self._count_refused(failed)
            log.error("%s is not loaded, and all goes on as before: %s", crew.name, why)
            culprit = failed.culprit
            digest = "" if culprit is None else failed.digests.get(culprit, "")
            self._error = NotAllowed(f"{why}; {AS_BEFORE}")
            self.catalogue.refusals.note_together(failed.digests)
        else:
            log.error("%s cannot be ready: %s", crew.name, why)
            return
        assert self.current is not None
        if culprit is not None:
            self.catalogue.refusals.note(culprit, digest, why)
            if goes_on_without(culprit, self._change, self.current.digests):
                # What else was to be loaded need not suffer for it.
                self._change.refused[culprit] = why
                self._queue.appendleft(self._change)
                self._error = NotAllowed("")
        self._happens(Event.FAILED)

    def _count_refused(self, failed: Generation) -> None:
        assert self.current is not None
        failed.books.live_versions.count("refused")
        if self.current.books is not failed.books:
            self.current.books.live_versions.count("refused")

    def hopeless(self, crew: Crew, why: str) -> None:
        """See `Director`: to listen on is worse than to end, which others notice and act upon."""
        if self.current is None or crew is not self.current.crew:
            return
        if self._next is not None:
            log.error("%s; generation %d is awaited", why, self._next.number)
            return
        raise ServerError(why)

    def left(self, crew: Crew) -> None:
        if crew is self._keepers:
            assert self.current is not None
            roles = self._keeper(self.current.books)
            self._keepers = self._crews.start(KEEPERS, roles, Begin.NEXT)
        if self._leaving is not None and crew is self._leaving.crew:
            self._close_board(self._leaving)
            self._leaving = None
            self._happens(Event.LEFT)

    @staticmethod
    def _close_board(generation: Generation) -> None:
        if generation.board is not None:
            generation.board.close()

    def hung_up(self) -> None:
        """See `Director`: whatever the repository says now."""
        self._queue.append(Change("load", {"table": "", "version": 0}))

    def look(self, now: float) -> float:
        if not self._said_serving:
            return math.inf
        due = [self._look_after_next(now)]
        if self._releases.poll_seconds:
            if now >= self._poll_at:
                self._poll()
                self._poll_at = now + self._releases.poll_seconds
            due.append(self._poll_at)
        if self._rollout.trials:
            if now >= self._judge_at:
                assert self.current is not None
                if self._rollout.judge(self.current, self._next):
                    self._changed_who_answers()
                self._judge_at = now + TRIAL_SECONDS
            due.append(self._judge_at)
        if self._queue:
            due.append(self._begin_change(now))
        return min(due)

    def _look_after_next(self, now: float) -> float:
        """Look after a generation on its way; returns when to look again."""
        if self.state is State.LOADING:
            assert self._next is not None
            assert self._next.crew is not None
            until = self._next.began + self._releases.load_seconds
            if now >= until:
                self._crews.dismiss(self._next.crew, 0.0)
                seconds = self._releases.load_seconds
                self.failed(self._next.crew, f"it was not ready within {seconds:g} s")
                return now
            return until
        if self.state in (State.ACCEPTING, State.RETIRING):
            self._awaited = {member for member in self._awaited if member.pid}
            if not self._awaited:
                self._happens(Event.DONE)
            return now + TICK
        return math.inf

    def _begin_change(self, now: float) -> float:
        """Begin with what was asked for first, or make room for it; returns when to look again."""
        if self.state is State.SERVING:
            self._change = self._queue.popleft()
            self._happens(self._want)
            return now
        if self.state is State.LEAVING:
            # Of a URL it is not known yet whether there is anything to hurry for.
            if not (self.catalogue.source.is_remote and self._queue[0].what == "poll"):
                self._happens(self._want)
            assert self._leaving is not None
            assert self._leaving.crew is not None
            return self._leaving.crew.until
        return math.inf

    # What is done about what happens; see `states.Action`.

    def _fetch(self) -> None:
        wanted = self.catalogue.to_fetch(self._change, self.current)
        begin = Begin.FIRST if self.current is None else Begin.NEXT
        role = Role("the fetcher", partial(fetch, self.catalogue.source, wanted), once=True)
        crew = self._crews.start(f"fetching {self.catalogue.source.name}", [role], begin)
        self._fetching = Fetching(crew, self._change)

    def _load(self) -> None:
        if self.current is None:
            self._load_first()
            return
        change, before = self._change, self.current
        try:
            generation = self.catalogue.following(change, before)
        except (ServerError, CascadeTablesError) as exc:
            change.failed(exc if isinstance(exc, ServerError) else NotReady(str(exc)))
            if change.member is None:
                log.error("the releases stay as they are: %s", exc)
            self._happens(Event.UNCHANGED)
            return
        if generation.digests == before.digests and (change.what == "poll" or change.refused):
            self._close_board(generation)
            change.ended(self.listing(), AS_BEFORE)
            self._happens(Event.UNCHANGED)
            return
        self._say(f"loading generation {generation.number}: {generation}")
        self._launch(generation, Begin.NEXT)

    def _load_first(self) -> None:
        generation = self.catalogue.first(self._change)
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
        # Unless the rest of it is tried again.
        if self._change not in self._queue:
            self._change.failed(self._error)

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
        generation.change.ended(self.listing(), "all else is loaded and answers")
        seconds = self._clock() - generation.began
        self._say(f"generation {generation.number} has taken over, after {seconds:.2f} s")

    def _hurry(self) -> None:
        self._crews.dismiss(self._crew_of(self._leaving), self._config.drain_seconds)

    @staticmethod
    def _crew_of(generation: Generation | None) -> Crew:
        assert generation is not None
        assert generation.crew is not None
        return generation.crew

    # What is asked for.

    def _poll(self) -> None:
        """Look at the repository; of a URL only a process that fetches can."""
        assert self.current is not None
        if any(each.what == "poll" for each in self._queue) or self._next is not None:
            return
        change = Change("poll")
        if self.catalogue.source.is_remote or self.catalogue.has_news(change, self.current):
            self._queue.append(change)

    def _ask(self, change: Change) -> None:
        if self.current is None:
            change.failed(NotReady("the releases are still being loaded"))
            return
        if change.what in ("load", "unload"):
            self._queue.append(change)
            return
        try:
            if change.what == "list":
                self.catalogue.look_again()
            elif change.what in AT_ONCE:
                do = partial(AT_ONCE[change.what], **change.given)
                self._rollout.change(do, self.current, self._next)
                self._changed_who_answers()
            change.done(self.listing())
        except ServerError as exc:
            change.failed(exc)

    def _changed_who_answers(self) -> None:
        assert self.current is not None
        self.catalogue.keep(self.current.desired)

    def listing(self) -> dict[str, Any]:
        """How things are: as `ReleasesResponse`."""
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
