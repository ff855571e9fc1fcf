"""A server's loaded releases and their shares of requests, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cascade_proto import synthesis_pb2 as pb

from cascade_client.values.date_times import from_microseconds


class ReleaseState(StrEnum):
    """State of a release."""

    LOADED = "loaded"
    LOADING = "loading"
    AVAILABLE = "available"  # in the repository, and not loaded
    REFUSED = "refused"  # it was to be loaded, and could not be
    MISSING = "missing"  # loaded, and no longer in the repository
    UNKNOWN = "unknown"  # a state that this version of the client has no name for


@dataclass(frozen=True)
class Release:
    """One release on a server.

    Attributes:
        table, version: its identity.
        state: its current state.
        share: of the requests to the table that name no version.
        canary: whether it is on trial.
        previous: whether it is the former default, to which a roll-back returns.
        digest: distinguishes its files from those of any other release.
        created: creation time, ISO 8601.
        reason: why it was refused, or the state of its trial.
    """

    table: str
    version: int
    state: ReleaseState
    share: float
    canary: bool
    previous: bool
    digest: str
    created: str
    reason: str


@dataclass(frozen=True)
class ReleaseReport:
    """All releases on a server.

    Attributes:
        releases: by table and version.
        generation: how many times its processes have been replaced, plus 1.
        since: when the current processes took over, UTC.
        policies: by table, which versions to load.
    """

    releases: tuple[Release, ...]
    generation: int
    since: datetime
    policies: Mapping[str, str]

    def answering(self, table: str) -> int:
        """Return the version that answers most of the requests to a table; 0: none does."""
        shares = [each for each in self.releases if each.table == table and each.share > 0]
        return max(shares, key=lambda each: each.share).version if shares else 0


def release_report(response: pb.ReleasesResponse) -> ReleaseReport:
    """Convert the server's answer to the value that every method of `Client.releases` returns."""
    return ReleaseReport(
        releases=tuple(
            Release(
                table=each.table,
                version=each.version,
                state=_state(each.state),
                share=each.share,
                canary=each.canary,
                previous=each.previous,
                digest=each.digest,
                created=each.created,
                reason=each.reason,
            )
            for each in response.releases
        ),
        generation=response.generation,
        since=from_microseconds(response.since),
        policies=dict(sorted(response.policies.items())),
    )


def _state(number: int) -> ReleaseState:
    names: dict[int, str] = {value: name for name, value in pb.ReleaseState.items()}
    name = names.get(number, "").removeprefix("RELEASE_STATE_").lower()
    return ReleaseState(name) if name in list(ReleaseState) else ReleaseState.UNKNOWN
