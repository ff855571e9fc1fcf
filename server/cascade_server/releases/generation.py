"""Processes that load the same releases, and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cascade_server.config import ServerConfig
from cascade_server.counts.shared.books import Books
from cascade_server.errors import ConfigError
from cascade_server.objectives.canary import CanaryConfig
from cascade_server.releases.changes import Turn
from cascade_server.releases.policy import Desired, Policy
from cascade_server.supervision.crews import Crew
from cascade_server.supervision.placement import Board


@dataclass(frozen=True)
class ReleaseConfig:
    """What is loaded, and how trials are held: `ServerConfig`'s settings of releases, as values.

    Attributes:
        default, policies: as in `Desired`.
        poll_seconds: between looks at the repository; 0: only when told.
        canary_share: that a new version gets on trial; 0: it answers at once.
        canary: what promotes it, and rolls it back.
        load_seconds: that a generation may take to become ready.
    """

    default: Policy = field(default_factory=Policy)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    poll_seconds: float = ServerConfig.poll_seconds
    canary_share: float = ServerConfig.canary_share
    canary: CanaryConfig = field(default_factory=CanaryConfig)
    load_seconds: float = ServerConfig.load_seconds

    @classmethod
    def of(cls, config: ServerConfig) -> ReleaseConfig:
        """Of a server's settings.

        Raises:
            ConfigError: a table is named twice, or a policy is none.
        """
        default = Policy.parse(config.version_policy)
        return cls(
            default=default,
            policies=policies_of(config.serve, default),
            poll_seconds=config.poll_seconds,
            canary_share=config.canary_share,
            canary=CanaryConfig(seconds=config.canary_seconds, calls=config.canary_calls),
            load_seconds=config.load_seconds,
        )


def policies_of(serve: Sequence[str], default: Policy) -> dict[str, Policy]:
    """What the setting `serve` says, by table.

    Raises:
        ConfigError: a table is named twice, or its policy is none.
    """
    policies: dict[str, Policy] = {}
    for each in serve:
        table, given, policy = each.partition("=")
        if not table or table in policies:
            raise ConfigError(
                f"serve has {each!r}; allowed: TABLE or TABLE=POLICY, each table once"
            )
        policies[table] = Policy.parse(policy) if given else default
    return policies


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
        turn: the changes that they make, and who waits for those.
        first: whether none was before.
    """

    number: int
    config: ServerConfig
    books: Books
    slot: int
    board: Board | None
    digests: Mapping[tuple[str, int], str]
    desired: Desired
    turn: Turn
    began: float
    first: bool
    crew: Crew | None = None
    culprit: tuple[str, int] | None = None

    @property
    def versions(self) -> Mapping[str, Sequence[int]]:
        """The versions that the generation's processes load, by table."""
        assert self.config.versions is not None
        return self.config.versions

    def worker_left(self, number: int, place: int) -> None:
        """A worker's process has ended: those on their way to it are others' callers.

        Args:
            number: of the worker.
            place: where it counted.
        """
        self.books.left(place)
        if self.board is not None:
            self.board.left(number)

    def __str__(self) -> str:
        return "; ".join(
            f"{table} {', '.join(map(str, each))}" for table, each in self.versions.items()
        )
