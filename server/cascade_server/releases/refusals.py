"""Releases that could not be loaded, and when they are tried again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cascade_server.releases.changes import Turn
from cascade_server.releases.found import Found, Key


class Refusals:
    """What was refused, and why; a release is known by the digest of its manifest.

    Attributes:
        reasons: digest and reason of each.
    """

    def __init__(self) -> None:
        self.reasons: dict[Key, tuple[str, str]] = {}
        # What could not be loaded as a whole; nobody but who asks for it tries that again.
        self._together: Mapping[Key, str] | None = None

    def note(self, key: Key, digest: str, why: str) -> None:
        """A release cannot be loaded."""
        self.reasons[key] = digest, why

    def forget(self, keys: Collection[Key]) -> None:
        """These have been loaded."""
        for key in keys:
            self.reasons.pop(key, None)

    def note_together(self, digests: Mapping[Key, str]) -> None:
        """All of these cannot be loaded together."""
        self._together = digests

    def was_tried(self, digests: Mapping[Key, str]) -> bool:
        """Whether it is these that could not be loaded together."""
        return digests == self._together

    def not_to_be_tried(self, turn: Turn, found: Found, served: Collection[Key]) -> set[Key]:
        """Releases that a turn goes without.

        That is those that were refused, unless their manifests have changed since or somebody asks
        for them; and those that were refused in the course of this very turn.

        Args:
            turn: what is to be loaded.
            found: what the repository holds.
            served: releases that answer now. They are never gone without: they would be unloaded.
        """
        return {
            key
            for key, (digest, _) in self.reasons.items()
            if key not in served
            and (key in turn.refused or (found.digest(*key) == digest and not turn.names(key)))
        }


def goes_on_without(culprit: Key, turn: Turn, served: Collection[Key]) -> bool:
    """Whether the rest of a turn is made though one release cannot be loaded.

    Not without one that is served: it would no longer be, and it is only its files that are no
    longer what they were. Nor where it was all that was asked for.
    """
    is_rest = any(not each.is_for_alone(culprit) for each in turn.changes)
    return is_rest and culprit not in served
