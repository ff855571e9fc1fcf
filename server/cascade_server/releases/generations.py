"""Which processes answer, and which are to: the supervisor's decisions about releases.

What is loaded is loaded by a generation of new processes while the one before answers. When all of
it is ready it takes connections, then the one before takes no more, sends its callers over, ends
what is inside and is gone. A generation that cannot become ready leaves everything as it is. Which
version answers who names none is a matter of `live_versions`, and changes without any of that.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cascade_tables import CascadeTablesError, ReleaseError
from cascade_tables.errors import listing as listing_of

from cascade_server.config import ServerConfig
from cascade_server.counts.books import Books
from cascade_server.errors import NotAllowed, NotReady, ServerError, UnknownTable
from cascade_server.releases.changes import Asked
from cascade_server.releases.desired_file import DesiredFile
from cascade_server.releases.fetching import Fetching, fetch
from cascade_server.releases.found import Found, Key, Source
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.listing import listed
from cascade_server.releases.next_generation import Planner, carry_over
from cascade_server.releases.policy import Desired
from cascade_server.releases.rollout import Rollout
from cascade_server.releases.trials import Trials
from cascade_server.supervision.crews import Begin, Crew, Member, Phase, Role
from cascade_server.supervision.supervisor import Supervisor

log = logging.getLogger("cascade.server")

# Seconds that what is inside a generation may take once another has taken over, unless it is
# hurried by a third; between looks at trials; between looks at a change that is underway.
LONGEST_STAY, TRIAL_SECONDS, TICK = 3600.0, 1.0, 0.05
AS_BEFORE = "what was served goes on being served"


class Generations:
    """Directs the supervisor.

    Args:
        config: of the server, with its port.
        releases: what is loaded.
        source: the repository.
        workers: of a generation.
        roles: of a generation.
        keeper: the roles that keep a server's books; none: nobody has to.
        say: is told what a person at the terminal should know.
        serving: is told once, when all are ready for the first time.
    """

    def __init__(
        self,
        config: ServerConfig,
        releases: ReleaseConfig,
        source: Source,
        workers: int,
        roles: Callable[[Generation], Sequence[Role]],
        keeper: Callable[[Books], Sequence[Role]],
        say: Callable[[str], None],
        serving: Callable[[], None],
    ) -> None:
        self._config, self._releases, self._source = config, releases, source
        self._planner = Planner(config, releases, workers)
        self._roles, self._keeper = roles, keeper
        self._say, self._serving = say, serving
        self.supervisor = Supervisor(self, lambda: say("draining"), config.drain_seconds)
        self.desired = Desired(releases.default, releases.policies)
        self._found = Found({}, {})
        self.current: Generation | None = None
        self._starting: Generation | None = None
        self._leaving: Generation | None = None
        self._keepers: Crew | None = None
        self._said_serving = False
        self._queue: deque[Asked] = deque()
        # Members that have been told to accept, or to retire, and have not said that they do.
        self._awaited: set[Member] = set()
        self._refused: dict[tuple[str, int], tuple[str, str]] = {}
        self._rollout = Rollout(Trials(releases.canary, time.monotonic), say)
        self._file = DesiredFile(config.state_dir)
        self._fetching: Fetching | None = None
        self._poll_at = self._judge_at = 0.0
        self._since = 0
        # What could not be loaded as a whole; nobody but who asks for it tries that again.
        self._failed_digests: Mapping[Key, str] | None = None

    def begin(self) -> None:
        """Start the first generation, and who keeps the books.

        Raises:
            ReleaseError: there is nothing to serve.
            ConfigError: what was kept of an earlier server's releases is damaged.
        """
        self.desired = self._file.restored(self.desired)
        asked = Asked("begin")
        if self._source.is_remote:
            self._start_fetching(asked)
        else:
            self._begin_first(asked)

    def _begin_first(self, asked: Asked) -> None:
        self._found = self._source.look()
        self._check_policies()
        generation = self._plan(self.desired, asked, None)
        if not generation.versions:
            served = " that is to be served" if self._found.releases else ""
            raise ReleaseError(
                f"model repository {self._source.name} holds no release{served}; "
                "`cascade release` writes one"
            )
        self._launch(generation, Begin.FIRST)
        roles = self._keeper(generation.books)
        if roles:
            self._keepers = self.supervisor.start("the books' keeper", roles, Begin.FIRST)

    def _check_policies(self) -> None:
        """A table that is to be served and is not there is a mistake; a version may come yet."""
        for table, policy in self._releases.policies.items():
            versions = self._found.versions.get(table)
            if versions is None:
                raise UnknownTable.table(table, self._found.versions)
            if missing := sorted(policy.versions - set(versions)):
                log.warning("%s has no version %s yet", table, listing_of(missing))

    @staticmethod
    def is_last(crew: Crew) -> bool:
        """The keeper saves what all have counted."""
        return crew.name == "the books' keeper"

    def _start_fetching(self, asked: Asked) -> None:
        """Have a process bring what is wanted to this machine, and go on from there."""

        def wanted(found: Found) -> Mapping[str, Sequence[int]]:
            self._found = found
            loaded = {} if self.current is None else self.current.versions
            desired = self.desired
            if self.current is not None:
                desired = self._changed(asked, self.current)
            return desired.wanted(found.without(self._bad(asked)), loaded)

        begin = Begin.FIRST if self.current is None else Begin.NEXT
        role = Role("the fetcher", partial(fetch, self._source, wanted), once=True)
        crew = self.supervisor.start(f"fetching {self._source.name}", [role], begin)
        self._fetching = Fetching(crew, asked)

    def _fetched(self, fetching: Fetching) -> None:
        self._fetching = None
        self.supervisor.dismiss(fetching.crew, self._config.drain_seconds)
        if self.current is None:
            self._begin_first(fetching.asked)
        else:
            self._go_on(fetching.asked, self.current)

    def _not_fetched(self, fetching: Fetching, why: str) -> None:
        self._fetching, asked, culprit = None, fetching.asked, fetching.culprit
        log.error("nothing is loaded, and all goes on as before: %s", why)
        self._look_again()
        if culprit is not None:
            self._refused[culprit] = (self._found.digest(*culprit), why)
            if self._goes_on_without(culprit, why, asked):
                return
        asked.failed(fetching.error(f"{why}; {AS_BEFORE}"))

    def _goes_on_without(self, culprit: Key, why: str, asked: Asked) -> bool:
        """Whether the rest is loaded though one release cannot be.

        Not without one that is served: it would no longer be, and it is only its files that are no
        longer what they were.
        """
        assert self.current is not None
        if culprit in self.current.digests or asked.is_for_alone(culprit):
            return False
        asked.refused[culprit] = why
        self._queue.appendleft(asked)
        return True

    # What the supervisor says.

    def said(self, member: Member, what: dict[str, Any]) -> None:
        """See `Director`."""
        if "loaded" in what and member.role.name == "worker 0" and self._is_first(member):
            self._say(what["loaded"])
        if self._fetching is not None and member.crew is self._fetching.crew:
            self._fetching.said(what, self._source)
        if "metrics" in what:
            self._say(what["metrics"])
        if "release" in what and self._starting is not None:
            self._starting.culprit = (what["release"][0], int(what["release"][1]))
        if not what.keys().isdisjoint(("accepting", "retired", "ready")):
            # Ready: who has died meanwhile, and was started again.
            self._awaited.discard(member)
        if "ask" in what:
            number, kind = what.pop("number"), what.pop("ask")
            self._ask(Asked(kind, what, member, number))

    def _is_first(self, member: Member) -> bool:
        return member.crew.begin is Begin.FIRST and self.current is None

    def ready(self, crew: Crew) -> None:
        """See `Director`."""
        if self._fetching is not None and crew is self._fetching.crew:
            self._fetched(self._fetching)
            return
        if crew is self._keepers:
            self.supervisor.serves(crew)
        elif self._starting is not None and crew is self._starting.crew:
            self.supervisor.serves(crew)
            self._rollout.apply(self._starting)
            if self._starting.first:
                self._took_over()
            else:
                self._awaited = set(crew.members)
                for member in crew.members:
                    member.tell(do="accept")
        if self.current is not None and not self._said_serving:
            keeper = self._keepers
            if keeper is None or all(member.ready for member in keeper.members):
                self._said_serving = True
                self._serving()

    def failed(self, crew: Crew, why: str) -> None:
        """See `Director`; the first ends the whole."""
        if not self._said_serving:
            raise ServerError(why)
        if self._fetching is not None and crew is self._fetching.crew:
            self._not_fetched(self._fetching, why)
            return
        starting = self._starting
        if starting is None or crew is not starting.crew:
            log.error("%s cannot be ready: %s", crew.name, why)
            return
        self._starting, self._leaving = None, starting
        starting.books.live_versions.count("refused")
        assert self.current is not None
        if self.current.books is not starting.books:
            self.current.books.live_versions.count("refused")
        log.error("%s is not loaded, and all goes on as before: %s", crew.name, why)
        culprit = starting.culprit
        if culprit is not None:
            digest = starting.digests.get(culprit, "")
            self._refused[culprit] = (digest, why)
            if self._goes_on_without(culprit, why, starting.asked):
                return
        self._failed_digests = starting.digests
        starting.asked.failed(NotAllowed(f"{why}; {AS_BEFORE}"))

    def hopeless(self, crew: Crew, why: str) -> None:
        """See `Director`: to listen on is worse than to end, which others notice and act upon."""
        if self.current is None or crew is not self.current.crew:
            return
        if self._starting is not None:
            log.error("%s; generation %d is awaited", why, self._starting.number)
            return
        raise ServerError(why)

    def left(self, crew: Crew) -> None:
        """See `Director`."""
        if crew is self._keepers:
            assert self.current is not None
            roles = self._keeper(self.current.books)
            self._keepers = self.supervisor.start(crew.name, roles, Begin.NEXT)
        if self._leaving is not None and crew is self._leaving.crew:
            if self._leaving.board is not None:
                self._leaving.board.close()
            self._leaving = None

    def hung_up(self) -> None:
        """See `Director`: whatever the repository says now."""
        self._queue.append(Asked("load", {"table": "", "version": 0}))

    def look(self, now: float) -> float:
        """See `Director`."""
        if not self._said_serving:
            return float("inf")
        due = [float("inf")]
        if self._starting is not None:
            due.append(self._watch(self._starting, now))
        if self._releases.poll_seconds:
            if now >= self._poll_at:
                self._poll()
                self._poll_at = now + self._releases.poll_seconds
            due.append(self._poll_at)
        if self._rollout.trials:
            if now >= self._judge_at:
                assert self.current is not None
                if self._rollout.judge(self.current, self._starting):
                    self._changed_who_answers()
                self._judge_at = now + TRIAL_SECONDS
            due.append(self._judge_at)
        if self._queue and self._starting is None and self._fetching is None:
            if self._leaving is None:
                self._begin_next()
                due.append(now)
            elif not (self._source.is_remote and self._queue[0].what == "poll"):
                # Of a URL it is not known yet whether there is anything to hurry for.
                assert self._leaving.crew is not None
                self.supervisor.dismiss(self._leaving.crew, self._config.drain_seconds)
                due.append(self._leaving.crew.until)
        return min(due)

    # From one generation to the next.

    def _plan(self, desired: Desired, asked: Asked, before: Generation | None) -> Generation:
        bad = self._bad(asked)
        return self._planner.plan(desired, asked, self._found, bad, before)

    def _bad(self, asked: Asked) -> set[Key]:
        """Releases not to be tried: refused, as they were, and not asked for again.

        One that is served is never among them: it would be unloaded.
        """
        served = {} if self.current is None else self.current.digests
        return {
            key
            for key, (digest, _) in self._refused.items()
            if key not in served
            and (
                key in asked.refused
                or (self._found.digest(*key) == digest and not asked.names(key))
            )
        }

    def _launch(self, generation: Generation, begin: Begin) -> None:
        self._starting = generation
        name = f"generation {generation.number} ({generation})"
        generation.crew = self.supervisor.start(name, self._roles(generation), begin)

    def _begin_next(self) -> None:
        """Start what was asked for first."""
        asked = self._queue.popleft()
        assert self.current is not None
        if self._source.is_remote:
            self._start_fetching(asked)
        else:
            self._go_on(asked, self.current)

    def _go_on(self, asked: Asked, before: Generation) -> None:
        """All that may be loaded is on this machine."""
        try:
            self._found = self._source.look()
            desired = self._changed(asked, before)
            generation = self._plan(desired, asked, before)
        except (ServerError, CascadeTablesError) as exc:
            asked.failed(exc if isinstance(exc, ServerError) else NotReady(str(exc)))
            if asked.member is None:
                log.error("the releases stay as they are: %s", exc)
            return
        if generation.digests == before.digests and (asked.what == "poll" or asked.refused):
            if generation.board is not None:
                generation.board.close()
            asked.ended(self.listing(), AS_BEFORE)
            return
        self._say(f"loading generation {generation.number}: {generation}")
        self._launch(generation, Begin.NEXT)

    def _changed(self, asked: Asked, before: Generation) -> Desired:
        given = asked.given
        if asked.what == "unload":
            return self.desired.unload(given["table"], given["version"], before.versions)
        if asked.what == "load":
            return self.desired.load(given["table"], given["version"], self._found.versions)
        return self.desired

    def _watch(self, starting: Generation, now: float) -> float:
        """Look after a generation on its way; returns when to look again."""
        crew = starting.crew
        assert crew is not None
        if not self.current or crew.phase is Phase.STARTING:
            until = starting.began + self._releases.load_seconds
            if now >= until:
                self.supervisor.dismiss(crew, 0.0)
                seconds = self._releases.load_seconds
                self.failed(crew, f"it was not ready within {seconds:g} s")
            return until
        self._awaited = {member for member in self._awaited if member.pid}
        if self._awaited:
            return now + TICK
        before = self.current
        assert before.crew is not None
        if self._leaving is None:
            # The new ones take connections: the old ones need not, and there is no other way for
            # one to be given to a worker that is about to leave.
            self._leaving = before
            self.supervisor.dismiss(before.crew, self._config.drain_seconds, LONGEST_STAY)
            self._awaited = {each for each in before.crew.members if each.tell(do="retire")}
            return now + TICK
        for member in before.crew.members:
            member.tell(do="leave")
        if before.books is not starting.books:
            carry_over(before.books, starting.books)
            if self._keepers is not None:
                self.supervisor.dismiss(self._keepers, self._config.drain_seconds)
        seconds = now - starting.began
        self._took_over()
        self._say(f"generation {starting.number} has taken over, after {seconds:.2f} s")
        return now

    def _took_over(self) -> None:
        generation = self._starting
        assert generation is not None
        self._starting, self.current, self.desired = None, generation, generation.desired
        self._since = time.time_ns() // 1000
        for key in generation.digests:
            self._refused.pop(key, None)
        self._file.save(self.desired)
        if not generation.first:
            generation.books.live_versions.count("loaded")
            generation.asked.ended(self.listing(), "all else is loaded and answers")

    # What is asked for.

    def _ask(self, asked: Asked) -> None:
        if self.current is None:
            asked.failed(NotReady("the releases are still being loaded"))
            return
        if asked.what in ("load", "unload"):
            self._queue.append(asked)
            return
        changes: dict[str, Callable[..., Desired]] = {
            "canary": Desired.on_trial,
            "promote": Desired.promoted,
            "roll_back": Desired.rolled_back,
        }
        try:
            if asked.what == "list":
                self._look_again()
            elif asked.what in changes:
                change = partial(changes[asked.what], **asked.given)
                self._rollout.change(change, self.current, self._starting)
                self._changed_who_answers()
            asked.done(self.listing())
        except ServerError as exc:
            asked.failed(exc)

    def _changed_who_answers(self) -> None:
        assert self.current is not None
        self.desired = self.current.desired
        self._file.save(self.desired)

    def _look_again(self) -> None:
        try:
            self._found = self._source.look()
        except CascadeTablesError as exc:
            log.error("the repository cannot be looked at: %s", exc)

    def _poll(self) -> None:
        if any(each.what == "poll" for each in self._queue) or self._starting is not None:
            return
        asked = Asked("poll")
        if not self._source.is_remote:
            assert self.current is not None
            self._look_again()
            wanted = self.desired.wanted(
                self._found.without(self._bad(asked)), self.current.versions
            )
            if self._found.digests(wanted) in (self.current.digests, self._failed_digests):
                return
        self._queue.append(asked)

    def listing(self) -> dict[str, Any]:
        """How things are: as `ReleasesResponse`."""
        assert self.current is not None
        policies = {
            table: str(self._releases.policies.get(table, self._releases.default))
            for table in sorted(self._found.versions)
            if self.desired.served(table)
        }
        return {
            "releases": listed(
                self._found,
                self.current,
                self._starting,
                self.desired,
                self._refused,
                self._rollout.trials.reasons,
            ),
            "generation": self.current.number,
            "since": self._since,
            "policies": policies,
        }
