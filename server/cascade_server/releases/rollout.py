"""Applies which versions answer, where all workers see it, and ends trials."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cascade_server.errors import ServerError
from cascade_server.objectives.canary import Verdict
from cascade_server.releases.generation import Generation
from cascade_server.releases.policy import Desired
from cascade_server.releases.trials import Trials

log = logging.getLogger("cascade.server")


class Rollout:
    """Changes which versions answer; see `live_versions`.

    Args:
        trials: the canaries' trials.
        say: prints what a person at the terminal should know.
    """

    def __init__(self, trials: Trials, say: Callable[[str], None]) -> None:
        self.trials, self._say = trials, say

    def apply(self, generation: Generation) -> None:
        """Let versions of a generation answer as desired, from now on."""
        books = generation.books
        for table in books.tables:
            state, versions = generation.desired.state_of(table), generation.versions.get(table, ())
            if not versions:
                state = replace(state, canary=0, share=0.0)
            if self.trials.holds(table, state.canary, books):
                books.live_versions.count("canary_started")
                share = f"{state.share:.3g} of the requests that name no version"
                self._say(f"{table} version {state.canary} is on trial with {share}")
            books.live_versions.put(table, state.answering(versions), state.canary, state.share)

    def change(
        self, change: Callable[..., Desired], current: Generation, starting: Generation | None
    ) -> None:
        """Change which versions answer, in the current and in the starting generation.

        Args:
            change: a method of `Desired`, with all arguments but the object and the loaded
                versions.
            current, starting: the generations that are changed.

        Raises:
            ServerError: the change is impossible.
        """
        current.desired = change(current.desired, loaded=current.versions)
        if starting is not None:
            try:
                starting.desired = change(starting.desired, loaded=starting.versions)
            except ServerError as exc:
                # Its version is not among those that will be loaded.
                log.warning("with generation %d it will not be so: %s", starting.number, exc)
        self.apply(current)

    def judge(self, current: Generation, starting: Generation | None) -> bool:
        """Judge all trials; return whether one of them is over."""
        is_over = False
        for table, version, judged in self.trials.judged():
            promoted = judged.verdict is Verdict.PROMOTE
            change = Desired.promoted if promoted else Desired.rolled_back
            try:
                self.change(partial(change, table=table), current, starting)
            except ServerError as exc:
                log.error("who answers stays as it is: %s", exc)
                continue
            is_over = True
            event, did = "canary_promoted", "promoted"
            if not promoted:
                event, did = "canary_rolled_back", "rolled back"
                log.warning("%s version %d is rolled back: %s", table, version, judged.reason)
            current.books.live_versions.count(event)
            self._say(f"{table} version {version} is {did}: {judged.reason}")
        return is_over
