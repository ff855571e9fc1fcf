"""Turns the supervisor's messages and the requested changes of releases into events.

`succession` handles the replacement of one generation of processes by the next. Which version
answers requests without a version is up to `live_versions`, and changes without new processes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cascade_server.errors import NotAllowed, NotReady, ServerError
from cascade_server.releases.changes import Change, Turn
from cascade_server.releases.generation import Generation
from cascade_server.releases.policy import Desired
from cascade_server.releases.refusals import goes_on_without
from cascade_server.releases.states import Event, State
from cascade_server.releases.succession import AS_BEFORE, KEEPERS, Succession
from cascade_server.supervision.crews import Begin, Crew, Member

log = logging.getLogger("cascade.server")

# Seconds between checks of trials, and between checks of a change in progress.
TRIAL_SECONDS, TICK = 1.0, 0.05
# Changes that need no loading.
AT_ONCE: Mapping[str, Callable[..., Desired]] = {
    "canary": Desired.on_trial,
    "promote": Desired.promoted,
    "roll_back": Desired.rolled_back,
}


class Generations(Succession):
    """Directs the supervisor: handles events and starts turns; for arguments see `Succession`."""

    _said_serving = False
    # When to check the repository, and the trials.
    _poll_at = _judge_at = 0.0

    def begin(self) -> None:
        """Start the first generation, and the keeper of the books.

        Raises:
            ReleaseError: there is nothing to serve.
        """
        self.catalogue.restore()
        self._happens(self._want)

    @staticmethod
    def is_last(crew: Crew) -> bool:
        """Return whether it is the keeper's crew, which saves the counts of all others."""
        return crew.name == KEEPERS

    # Called by the supervisor.

    def said(self, member: Member, what: dict[str, Any]) -> None:
        is_first = member.crew.begin is Begin.FIRST and self.current is None
        if "loaded" in what and member.role.name == "worker 0" and is_first:
            self._say(what["loaded"])
        if self._fetching is not None and member.crew is self._fetching.crew:
            self._fetching.said(what, self.catalogue.source)
        for each in ("metrics", "page"):
            if each in what:
                self._say(what[each])
        if "release" in what and self._next is not None:
            self._next.culprit = (what["release"][0], int(what["release"][1]))
        if not what.keys().isdisjoint(("accepting", "retired", "ready")):
            # Includes members that died in the meantime and were started again.
            self._awaited.discard(member)
        if "withdrawn" in what:
            self._waiting.withdraw(member, what["withdrawn"])
        if "ask" in what:
            number, kind = what.pop("number"), what.pop("ask")
            self._ask(Change(kind, what, member, number, member.pid))

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
            # The first generation, or the keeper of the books.
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
            if goes_on_without(culprit, self._turn, self.current.digests):
                # Other releases that were to be loaded should not suffer for it.
                self._turn.go_on_without(culprit, why, AS_BEFORE)
                self._waiting.try_again(self._turn)
                self._error = NotAllowed("")
        self._happens(Event.FAILED)

    def _count_refused(self, failed: Generation) -> None:
        assert self.current is not None
        failed.books.live_versions.count("refused")
        if self.current.books is not failed.books:
            self.current.books.live_versions.count("refused")

    def hopeless(self, crew: Crew, why: str) -> None:
        """See `Director`: a server that can only listen should end, which others notice."""
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

    def hung_up(self) -> None:
        """See `Director`: check what the repository now contains."""
        self._waiting.add_unless_there(Change("load", {"table": "", "version": 0}))

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
        due.append(self._begin_turn(now))
        return min(due)

    def _look_after_next(self, now: float) -> float:
        """Monitor a generation on its way; return when to check again."""
        if self.state is State.LOADING:
            assert self._next is not None
            assert self._next.crew is not None
            ends_at = self._next.began + self._releases.load_seconds
            if now >= ends_at:
                self._crews.dismiss(self._next.crew, 0.0)
                seconds = self._releases.load_seconds
                self.failed(self._next.crew, f"it was not ready within {seconds:g} s")
                return now
            return ends_at
        if self.state in (State.ACCEPTING, State.RETIRING):
            self._awaited = {member for member in self._awaited if member.pid}
            if not self._awaited:
                self._happens(Event.DONE)
            return now + TICK
        return math.inf

    def _begin_turn(self, now: float) -> float:
        """Start the waiting changes, or make room for them; return when to check again."""
        due = self._waiting.due(now)
        if self.state is State.SERVING and due <= now:
            self._turn = self._waiting.take()
            self._happens(self._want)
            return now
        # For a URL, it is not known yet whether there is a reason to hurry.
        is_local = not self.catalogue.source.is_remote
        if self.state is State.LEAVING and self._waiting.is_wanted(or_polled=is_local):
            self._happens(self._want)
            ends_at = self._crew_of(self._leaving).until
            # After that time, only the end of its processes is left to wait for.
            return ends_at if ends_at > now else math.inf
        return due if due > now else math.inf

    # Requests for changes.

    def _poll(self) -> None:
        """Check the repository; if it is a URL, only a process that fetches can."""
        assert self.current is not None
        if self._next is not None:
            return
        change = Change("poll")
        if self.catalogue.source.is_remote or self.catalogue.has_news(Turn([change]), self.current):
            self._waiting.add_unless_there(change)

    def _ask(self, change: Change) -> None:
        if self.current is None:
            change.failed(NotReady("the releases are still being loaded"))
            return
        if change.what in ("load", "unload"):
            self._waiting.add(change)
            if self._leaving is not None:
                # It may have accepted the call just before it was told to leave.
                self._waiting.give_back(self._crew_of(self._leaving), self._clock())
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
