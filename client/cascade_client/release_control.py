"""Control of a server's releases, behind `Client.releases` and `AsyncClient.releases`."""

from __future__ import annotations

import re
from typing import Any

import grpc
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import ReleasesStub

from cascade_client.calls.tasks import AsyncCalls
from cascade_client.calls.threads import BlockingCalls
from cascade_client.errors import CascadeError, PermissionDenied
from cascade_client.values.releases import ReleaseReport, release_report

# Timeout in seconds for loading: new processes verify and warm every release with the CPU time that
# other work leaves.
LOAD_TIMEOUT = 300.0
# Name, in a server's state folder, of the socket over which releases may always be changed.
SOCKET = "control.sock"
OFF = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)


def explained(error: CascadeError, target: str) -> CascadeError:
    """Add to the error of a refused change how the change can be made."""
    if target.startswith("unix:") or SOCKET in str(error):  # the server has said so
        return error
    if error.code not in OFF and not re.search("release.control", str(error)):
        return error
    return PermissionDenied(
        f"{error}: {target} takes no control of releases over the network. Where it runs, ask over "
        f"the socket in its state folder: `cascade releases ... --state-dir STATE_DIR`, or "
        f"Client('unix:STATE_DIR/{SOCKET}')",
        code=error.code,
    )


class Releases:
    """A server's releases; see `Client.releases`.

    Each method returns the state after the change. To load or unload, the server starts new
    processes, which take over when they are ready; callers do not notice. Other changes take effect
    at once. A report may also say that something was not done: a release that could not be loaded
    is `ReleaseState.REFUSED`, with its reason.

    Args:
        client: of the server. A server that does not allow control of releases over the network is
            controlled over the socket in its state folder:
            ``Client("unix:STATE_DIR/control.sock")``.

    Raises:
        NotFound: no such table or version.
        InvalidRequest: the change is impossible, with the reason: a release is damaged, or the
            server is a single process.
        PermissionDenied: not over the network.
    """

    def __init__(self, client: BlockingCalls) -> None:
        self._client = client
        self._stub = ReleasesStub(client._channel)

    def list(self, *, timeout: float | None = None) -> ReleaseReport:
        """Return every release that is loaded or in the repository, with its share of requests."""
        return self._do(self._stub.ListReleases, pb.ListReleasesRequest(), timeout)

    def load(
        self, table: str = "", version: int = 0, *, timeout: float = LOAD_TIMEOUT
    ) -> ReleaseReport:
        """Load a version, even if it is loaded already.

        Version 0: the one that the table's policy selects; no table: everything that has changed in
        the repository.
        """
        request = pb.LoadReleaseRequest(table=table, version=version)
        return self._do(self._stub.LoadRelease, request, timeout)

    def unload(
        self, table: str, version: int = 0, *, timeout: float = LOAD_TIMEOUT
    ) -> ReleaseReport:
        """Unload a version; 0: all versions of the table."""
        request = pb.UnloadReleaseRequest(table=table, version=version)
        return self._do(self._stub.UnloadRelease, request, timeout)

    def canary(
        self, table: str, version: int, share: float, *, timeout: float | None = None
    ) -> ReleaseReport:
        """Give a loaded version a share, in (0, 1), of the requests that name no version.

        It is promoted once it has met the table's objectives, and rolled back as soon as it does
        not.
        """
        request = pb.StartCanaryRequest(table=table, version=version, share=share)
        return self._do(self._stub.StartCanary, request, timeout)

    def promote(
        self, table: str, version: int = 0, *, timeout: float | None = None
    ) -> ReleaseReport:
        """Make a version the default for requests that name none; 0: the canary."""
        request = pb.PromoteReleaseRequest(table=table, version=version)
        return self._do(self._stub.PromoteRelease, request, timeout)

    def roll_back(self, table: str, *, timeout: float | None = None) -> ReleaseReport:
        """End the trial of a canary; without one, restore the previous default version."""
        request = pb.RollBackReleaseRequest(table=table)
        return self._do(self._stub.RollBackRelease, request, timeout)

    def _do(self, method: Any, request: Any, timeout: float | None) -> ReleaseReport:
        client = self._client
        try:
            return release_report(client._call(method, request, client._expiry(timeout)))
        except CascadeError as exc:
            raise explained(exc, client.target) from exc.__cause__


class AsyncReleases:
    """Asyncio version of `Releases`; see `AsyncClient.releases`."""

    def __init__(self, client: AsyncCalls) -> None:
        self._client = client
        self._stub = ReleasesStub(client._channel)

    async def list(self, *, timeout: float | None = None) -> ReleaseReport:
        """Return every release that is loaded or in the repository, with its share of requests."""
        return await self._do(self._stub.ListReleases, pb.ListReleasesRequest(), timeout)

    async def load(
        self, table: str = "", version: int = 0, *, timeout: float = LOAD_TIMEOUT
    ) -> ReleaseReport:
        """Load a version, even if it is loaded already; see `Releases.load`."""
        request = pb.LoadReleaseRequest(table=table, version=version)
        return await self._do(self._stub.LoadRelease, request, timeout)

    async def unload(
        self, table: str, version: int = 0, *, timeout: float = LOAD_TIMEOUT
    ) -> ReleaseReport:
        """Unload a version; 0: all versions of the table."""
        request = pb.UnloadReleaseRequest(table=table, version=version)
        return await self._do(self._stub.UnloadRelease, request, timeout)

    async def canary(
        self, table: str, version: int, share: float, *, timeout: float | None = None
    ) -> ReleaseReport:
        """Give a loaded version a share, in (0, 1), of the requests that name no version; see
        `Releases.canary`.
        """
        request = pb.StartCanaryRequest(table=table, version=version, share=share)
        return await self._do(self._stub.StartCanary, request, timeout)

    async def promote(
        self, table: str, version: int = 0, *, timeout: float | None = None
    ) -> ReleaseReport:
        """Make a version the default for requests that name none; 0: the canary."""
        request = pb.PromoteReleaseRequest(table=table, version=version)
        return await self._do(self._stub.PromoteRelease, request, timeout)

    async def roll_back(self, table: str, *, timeout: float | None = None) -> ReleaseReport:
        """End the trial of a canary; without one, restore the previous default version."""
        request = pb.RollBackReleaseRequest(table=table)
        return await self._do(self._stub.RollBackRelease, request, timeout)

    async def _do(self, method: Any, request: Any, timeout: float | None) -> ReleaseReport:
        client = self._client
        try:
            return release_report(await client._call(method, request, client._expiry(timeout)))
        except CascadeError as exc:
            raise explained(exc, client.target) from exc.__cause__
