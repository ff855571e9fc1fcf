"""Which releases a server has loaded and which of them answers, as values; and how to change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import ReleasesStub

from cascade_client.answers import from_microseconds

if TYPE_CHECKING:
    from cascade_client.client import Client

# Seconds for what loads: new processes verify and warm every release with what others leave of the
# processors.
LOAD_TIMEOUT = 300.0


class ReleaseState(StrEnum):
    """Where a release is."""

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
        table, version: which.
        state: where it is.
        share: of the requests to the table that name no version.
        canary: whether it is on trial.
        previous: whether it answered before, and is what a roll-back goes back to.
        digest: tells its files from those of any other release.
        created: when it was made, ISO 8601.
        reason: why it was refused, or how its trial stands.
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
        generation: how many times its processes have been replaced, and 1.
        since: when the ones that answer took over, UTC.
        policies: by table, which versions are to be loaded.
    """

    releases: tuple[Release, ...]
    generation: int
    since: datetime
    policies: Mapping[str, str]

    def answering(self, table: str) -> int:
        """The version that answers most of the requests to a table; 0: none does."""
        of = [each for each in self.releases if each.table == table and each.share > 0]
        return max(of, key=lambda each: each.share).version if of else 0


class Releases:
    """What may be asked of a server about its releases; see `Client.releases`.

    Each method returns how things are once it is done. What loads or unloads has new processes
    made, which take over when they are ready; nobody else notices. The rest changes in an instant.

    Args:
        client: of the server.

    Raises:
        NotFound: no such table or version.
        InvalidRequest: it cannot be, and why: a release is damaged, or the server may not be asked.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stub = ReleasesStub(client._channel)

    def list(self, *, timeout: float | None = None) -> ReleaseReport:
        """How things are."""
        return self._do(self._stub.ListReleases, pb.ListReleasesRequest(), timeout)

    def load(
        self, table: str = "", version: int = 0, *, timeout: float = LOAD_TIMEOUT
    ) -> ReleaseReport:
        """Load a version, also one that is loaded; 0: what the table's policy says; no table: all
        that has changed in the repository."""
        request = pb.LoadReleaseRequest(table=table, version=version)
        return self._do(self._stub.LoadRelease, request, timeout)

    def unload(
        self, table: str, version: int = 0, *, timeout: float = LOAD_TIMEOUT
    ) -> ReleaseReport:
        """Unload a version; 0: all of the table."""
        request = pb.UnloadReleaseRequest(table=table, version=version)
        return self._do(self._stub.UnloadRelease, request, timeout)

    def canary(
        self, table: str, version: int, share: float, *, timeout: float | None = None
    ) -> ReleaseReport:
        """Give a loaded version a share, in (0, 1), of the requests that name none. It is promoted
        once it has kept the table's objectives, and rolled back as soon as it does not."""
        request = pb.StartCanaryRequest(table=table, version=version, share=share)
        return self._do(self._stub.StartCanary, request, timeout)

    def promote(
        self, table: str, version: int = 0, *, timeout: float | None = None
    ) -> ReleaseReport:
        """Let a version answer who names none; 0: the canary."""
        request = pb.PromoteReleaseRequest(table=table, version=version)
        return self._do(self._stub.PromoteRelease, request, timeout)

    def roll_back(self, table: str, *, timeout: float | None = None) -> ReleaseReport:
        """End the trial of a canary; without one, let answer who did before."""
        request = pb.RollBackReleaseRequest(table=table)
        return self._do(self._stub.RollBackRelease, request, timeout)

    def _do(self, method: Any, request: Any, timeout: float | None) -> ReleaseReport:
        expiry = self._client._expiry(timeout)
        return _report(self._client._call(method, request, expiry))


def _report(response: pb.ReleasesResponse) -> ReleaseReport:
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
