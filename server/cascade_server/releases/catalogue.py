"""The available, the desired and the refused releases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cascade_tables import CascadeTablesError, ReleaseError
from cascade_tables.errors import listing as listing_of

from cascade_server.errors import ServerError, UnknownTable
from cascade_server.releases.changes import Change, Turn
from cascade_server.releases.desired_file import DesiredFile
from cascade_server.releases.found import Found, Key, Source
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.next_generation import Planner
from cascade_server.releases.policy import Desired
from cascade_server.releases.refusals import Refusals

log = logging.getLogger("cascade.server")


class Catalogue:
    """Decides what the next generation loads.

    Attributes:
        source: the repository.
        found: the content of the repository when it was last read.
        desired: the desired releases.
        refusals: the releases that could not be loaded.

    Args:
        source: the repository.
        releases: which releases to load, by the settings.
        planner: makes generations.
        folder: the state directory, where changes by callers are kept; None to keep nothing.
    """

    def __init__(
        self, source: Source, releases: ReleaseConfig, planner: Planner, folder: Path | None
    ) -> None:
        self.source, self._releases, self._planner = source, releases, planner
        self._file = DesiredFile(folder)
        self.found = Found({}, {})
        self.desired = Desired(releases.default, releases.policies)
        self.refusals = Refusals()

    def restore(self) -> None:
        """Restore the changes that an earlier server was asked for."""
        self.desired = self._file.restored(self.desired)

    def keep(self, desired: Desired) -> None:
        """Set the desired releases, and keep them over a restart."""
        self.desired = desired
        self._file.save(desired)

    def look_again(self) -> None:
        """Read the repository; if that fails, keep what was last read."""
        try:
            self.found = self.source.look()
        except (CascadeTablesError, OSError) as exc:
            log.error("the repository cannot be looked at: %s", exc)

    def first(self, turn: Turn) -> Generation:
        """Plan the first generation.

        Raises:
            ReleaseError: there is nothing to serve.
            UnknownTable: a table that should be served does not exist.
        """
        self.found = self.source.look()
        self._check_policies()
        generation = self._planner.plan(
            self.desired, turn, self.found, self._without(turn, None), None
        )
        if not generation.versions:
            served = " that is to be served" if self.found.releases else ""
            raise ReleaseError(
                f"model repository {self.source.name} holds no release{served}; "
                "`cascade release` writes one"
            )
        return generation

    def _check_policies(self) -> None:
        """Check that every table to be served exists; a missing version may still arrive."""
        for table, policy in self._releases.policies.items():
            versions = self.found.versions.get(table)
            if versions is None:
                raise UnknownTable.table(table, self.found.versions)
            if missing := sorted(policy.versions - set(versions)):
                log.warning("%s has no version %s yet", table, listing_of(missing))

    def following(self, turn: Turn, before: Generation) -> Generation | None:
        """Plan the generation for a turn's changes; None if no change is possible.

        Impossible changes are removed from the turn, and their callers are told why.

        Raises:
            ServerError, CascadeTablesError: no change is possible.
        """
        self.found = self.source.look()
        desired, failed = self._changed(turn, before)
        for change, why in failed:
            turn.drop(change, why)
        if not turn.changes:
            return None
        bad = self._without(turn, before)
        return self._planner.plan(desired, turn, self.found, bad, before)

    def to_fetch(
        self, turn: Turn, before: Generation | None
    ) -> Callable[[Found], Mapping[str, Sequence[int]]]:
        """Return a function that lists what to fetch for a turn; for the process that fetches."""

        def wanted(found: Found) -> Mapping[str, Sequence[int]]:
            self.found = found
            loaded = {} if before is None else before.versions
            desired = self.desired
            if before is not None:
                desired, failed = self._changed(turn, before)
                if len(failed) == len(turn.changes):
                    return loaded  # only what is here; `following` tells each caller why
            return desired.wanted(found.without(self._without(turn, before)), loaded)

        return wanted

    def has_news(self, turn: Turn, current: Generation) -> bool:
        """Return whether there is a release to load that is neither loaded nor was tried."""
        self.look_again()
        available = self.found.without(self._without(turn, current))
        digests = self.found.digests(self.desired.wanted(available, current.versions))
        return digests != current.digests and not self.refusals.was_tried(digests)

    def was_tried(self, generation: Generation) -> bool:
        """Return whether it could not be loaded as a whole, and nothing has changed since."""
        return self.refusals.was_tried(generation.digests)

    def policies(self) -> dict[str, str]:
        """Return by served table which of its versions are loaded."""
        return {
            table: str(self._releases.policies.get(table, self._releases.default))
            for table in sorted(self.found.versions)
            if self.desired.served(table)
        }

    def _without(self, turn: Turn, before: Generation | None) -> set[Key]:
        served = {} if before is None else before.digests
        return self.refusals.not_to_be_tried(turn, self.found, served)

    def _changed(
        self, turn: Turn, before: Generation
    ) -> tuple[Desired, list[tuple[Change, ServerError]]]:
        """Apply the changes in order; return what is then desired, and the impossible changes."""
        desired, loaded = self.desired, before.versions
        made: list[Change] = []
        failed: list[tuple[Change, ServerError]] = []
        for change in turn.changes:
            table, version = change.given.get("table", ""), change.given.get("version", 0)
            try:
                if change.what == "unload":
                    desired = desired.unload(table, version, loaded)
                if change.what == "load":
                    desired = desired.load(table, version, self.found.versions)
            except ServerError as exc:
                # If two callers unload the same, the second one finds it unloaded, which is what it
                # wants.
                if not any(each.is_as(change) for each in made):
                    failed.append((change, exc))
                continue
            made.append(change)
            # So that two callers who each unload a table cannot leave nothing.
            loaded = self._left(desired, turn, before)
        return desired, failed

    def _left(
        self, desired: Desired, turn: Turn, before: Generation
    ) -> Mapping[str, Sequence[int]]:
        """Return what will be loaded, including served releases that left the repository."""
        available = self.found.without(self._without(turn, before))
        out = dict(desired.wanted(available, before.versions))
        for table, versions in before.versions.items():
            gone = set(versions) - set(self.found.versions.get(table, ()))
            if left := gone - desired.state_of(table).without:
                out[table] = tuple(sorted(left.union(out.get(table, ()))))
        return out
