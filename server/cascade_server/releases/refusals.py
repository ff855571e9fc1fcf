"""Releases that could not be loaded, and when to try them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cascade_server.releases.changes import Turn
from cascade_server.releases.found import Found, Key


class Refusals:
    """The refused releases, and why; a release is identified by the digest of its manifest.

    Attributes:
        reasons: digest and reason of each.
    """

    def __init__(self) -> None:
        self.reasons: dict[Key, tuple[str, str]] = {}
        # Releases that could not be loaded as a whole; only a caller's request tries them again.
        self._together: Mapping[Key, str] | None = None

    def note(self, key: Key, digest: str, why: str) -> None:
        """Note that a release cannot be loaded."""
        self.reasons[key] = digest, why

    def forget(self, keys: Collection[Key]) -> None:
        """Forget releases that have since been loaded."""
        for key in keys:
            self.reasons.pop(key, None)

    def note_together(self, digests: Mapping[Key, str]) -> None:
        """Note that these releases cannot be loaded together."""
        self._together = digests

    def was_tried(self, digests: Mapping[Key, str]) -> bool:
        """Return whether these releases could not be loaded together before."""
        return digests == self._together

    def not_to_be_tried(self, turn: Turn, found: Found, served: Collection[Key]) -> set[Key]:
        """Return the releases that a turn leaves out.

        These are releases that were refused, unless their manifests have changed since or a caller
        requests them, and releases that were refused during this turn.

        Args:
            turn: what to load.
            found: the content of the repository.
            served: releases that answer now. They are never left out, since that would unload them.
        """
        return {
            key
            for key, (digest, _) in self.reasons.items()
            if key not in served
            and (key in turn.refused or (found.digest(*key) == digest and not turn.names(key)))
        }


def goes_on_without(culprit: Key, turn: Turn, served: Collection[Key]) -> bool:
    """Return whether to go on with a turn if one release cannot be loaded.

    No, if the release is served: leaving it out would unload it, although only its files have
    changed. No, too, if it was all that was requested.
    """
    is_rest = any(not each.is_for_alone(culprit) for each in turn.changes)
    return is_rest and culprit not in served
