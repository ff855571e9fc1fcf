"""Processes that load the same releases, and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cascade_server.config import ServerConfig
from cascade_server.counts.books import Books
from cascade_server.errors import ConfigError
from cascade_server.objectives.canary import CanaryConfig
from cascade_server.releases.changes import Asked
from cascade_server.releases.policy import Desired, Policy
from cascade_server.supervision.crews import Crew
from cascade_server.supervision.placement import Board


@dataclass(frozen=True)
class ReleaseConfig:
    """What is loaded, and how trials are held.

    Attributes:
        default, policies: as in `Desired`.
        poll_seconds: between looks at the repository; 0: only when told.
        canary_share: that a new version gets on trial; 0: it answers at once.
        canary: what promotes it, and rolls it back.
        load_seconds: that a generation may take to become ready.
    """

    default: Policy = field(default_factory=Policy)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    poll_seconds: float = 0.0
    canary_share: float = 0.0
    canary: CanaryConfig = field(default_factory=CanaryConfig)
    load_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("poll_seconds", 0, 86_400),
            ("canary_share", 0, 0.5),
            ("load_seconds", 1, 86_400),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value:g}; allowed: {low} to {high:g}")


@dataclass(eq=False)
class Generation:
    """Processes that load the same releases.

    Attributes:
        number: from 1.
        config: theirs; what they load, and where their teacher listens.
        books, slot: where they count, and which half of the workers' places is theirs.
        board: what its workers know of each other; None: there is one, or grpcio's transport.
        digests: of what they load, by table and version.
        desired: what is wanted once they serve.
        asked: who waits for them.
        first: whether none was before.
    """

    number: int
    config: ServerConfig
    books: Books
    slot: int
    board: Board | None
    digests: Mapping[tuple[str, int], str]
    desired: Desired
    asked: Asked
    began: float
    first: bool
    crew: Crew | None = None
    culprit: tuple[str, int] | None = None

    @property
    def versions(self) -> Mapping[str, Sequence[int]]:
        """What they load."""
        assert self.config.versions is not None
        return self.config.versions

    def __str__(self) -> str:
        return "; ".join(
            f"{table} {', '.join(map(str, each))}" for table, each in self.versions.items()
        )
