"""A generation of processes that load the same releases, and its configuration."""

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
    """What to load, and how to conduct trials: the release settings of `ServerConfig` as values.

    Attributes:
        default, policies: as in `Desired`.
        poll_seconds: seconds between checks of the repository; 0 to check only on request.
        canary_share: share of the requests for a new version on trial; 0: it answers at once.
        canary: when to promote or roll back.
        load_seconds: seconds that a generation may take to become ready.
    """

    default: Policy = field(default_factory=Policy)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    poll_seconds: float = ServerConfig.poll_seconds
    canary_share: float = ServerConfig.canary_share
    canary: CanaryConfig = field(default_factory=CanaryConfig)
    load_seconds: float = ServerConfig.load_seconds

    @classmethod
    def of(cls, config: ServerConfig) -> ReleaseConfig:
        """Return the settings of a server.

        Raises:
            ConfigError: a table is named twice, or a policy is invalid.
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
    """Return the setting `serve` as policies by table.

    Raises:
        ConfigError: a table is named twice, or its policy is invalid.
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
        number: counts from 1.
        config: configuration of its processes, with the releases to load and the teacher's address.
        books, slot: where they count, and which half of the workers' places they have.
        board: what its workers know of each other; None if there is one worker, or with grpcio's
            transport.
        digests: digests of the releases they load, by table and version.
        desired: the desired releases once they serve.
        turn: the changes that they make, and their waiting callers.
        first: whether it is the first generation.
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
        """Handle the end of a worker's process: connections on their way to it go to other workers.

        Args:
            number: the worker's number.
            place: its place in the books.
        """
        self.books.left(place)
        if self.board is not None:
            self.board.left(number)

    def __str__(self) -> str:
        return "; ".join(
            f"{table} {', '.join(map(str, each))}" for table, each in self.versions.items()
        )
