"""Draws a job's rows with the workers of a Ray cluster; a `Drawing` of `cascade_jobs`.

Ray only draws rows: which file is made next, by which executor, and which files are complete stays
in the server's own ledger. If a worker dies or a machine goes away, another worker draws the same
rows.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from cascade_jobs.errors import Cause, JobFailed, JobWaits
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_tables import CascadeTablesError, Frame, read_manifest

from cascade_server.allowed import RAY
from cascade_server.errors import ConfigError
from cascade_server.jobs.drawing import SLABS
from cascade_server.jobs.ray_cluster.package import pack_release
from cascade_server.jobs.ray_cluster.worker import Slab, draw_slab, installed

log = logging.getLogger("cascade.jobs")

EXTRA = "cascade-synthesis[ray]"
# Seconds to wait for rows: a cluster that grows on demand takes minutes.
PATIENCE = 600.0
# Seconds in which the machine at the address must respond.
REACH_SECONDS = 10.0
# Seconds between two checks for rows; after each the executor renews its lease.
LOOK_SECONDS = 1.0
# Slabs to request ahead, per processor of the cluster, and at least.
AHEAD, FEWEST_AHEAD = 2, 4


def check_installed() -> None:
    """Raise ConfigError if Ray is not installed."""
    if find_spec("ray") is None:
        raise ConfigError(f"executor is a Ray cluster, which needs ray: pip install '{EXTRA}'")


class RayDrawing:
    """Draws rows with a Ray cluster for as long as the cluster is up.

    Args:
        address: `ray://HOST:PORT` of its Ray Client server.
        repository: contains the releases; a worker is sent the job's release.
        teacher_threads: threads of one pass of the teacher on a worker.
        patience: seconds to wait for rows.
    """

    def __init__(
        self,
        address: str,
        repository: Path,
        teacher_threads: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        self._address, self._repository = address, repository
        self._threads, self._patience = teacher_threads, patience
        self._draw: Any = None
        # The objects last sent to the cluster, with the release or the job that they belong to.
        self._package: tuple[str, Any] = "", None
        self._conditions: tuple[str, Any] = "", None

    def close(self) -> None:
        """Leave the cluster; work in progress there is dropped."""
        if self._draw is None:
            return
        import ray

        self._draw, self._package, self._conditions = None, ("", None), ("", None)
        ray.shutdown()

    def rows(
        self, specification: Specification, conditions: bytes, shard: Shard
    ) -> Generator[Frame | None, None, None]:
        """See `Drawing`.

        Raises:
            JobFailed: the release is gone or has changed, or a worker reports that it cannot draw.
            JobWaits: the cluster is away, or has no workers.
        """
        self._connect()
        import ray

        size, end = SLABS[specification.tier], shard.first + shard.rows
        slabs = pairwise([*range(shard.first, end, size), end])
        asked: deque[Any] = deque()
        try:
            package = self._sent_release(specification)
            given = self._sent_conditions(specification, conditions)
            most = self._most_ahead()
            text, version = specification.to_json(), installed()
            for first, patience_ends in slabs:
                slab = Slab(text, first, patience_ends - first, self._threads, version)
                asked.append(self._draw.remote(package, given, slab))
                if len(asked) >= most:
                    yield from self._drawn(asked.popleft())
            while asked:
                yield from self._drawn(asked.popleft())
        except (ray.exceptions.RayError, ConnectionError) as exc:
            asked.clear()
            self.close()
            away = f"Ray at {self._address} is away: {_first_line(exc)}"
            raise JobWaits(away, Cause.AWAY) from exc
        finally:
            for each in asked:
                ray.cancel(each)

    def _connect(self) -> None:
        """Connect, unless connected.

        Raises:
            JobWaits: nothing answers there.
        """
        if self._draw is not None:
            return
        # Ray reads this when it is imported: no usage data goes to its makers. What workers print
        # stays with them.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._reach()
        import ray

        try:
            ray.init(
                address=self._address,
                namespace="cascade",
                log_to_driver=False,
                configure_logging=False,
            )
        except Exception as exc:  # an error of Ray, of its gRPC, or of a version mismatch
            ray.shutdown()
            away = f"Ray at {self._address} cannot be reached: {_first_line(exc)}"
            raise JobWaits(away, Cause.AWAY) from exc
        # Retried whenever a worker is lost: the rows are the same whichever worker draws them.
        self._draw = ray.remote(num_cpus=1, max_retries=-1)(draw_slab)
        log.info("jobs are drawn by Ray at %s", self._address)

    def _reach(self) -> None:
        """Check whether the address is listening: Ray itself tries for half a minute.

        Raises:
            JobWaits: it is not.
        """
        host, _, port = self._address.removeprefix(RAY).rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS):
                pass
        except (OSError, OverflowError, ValueError) as exc:  # the machine, port or name is invalid
            why = f"Ray at {self._address} cannot be reached: {_first_line(exc)}"
            raise JobWaits(why, Cause.AWAY) from exc

    def _most_ahead(self) -> int:
        import ray

        processors = int(ray.cluster_resources().get("CPU", 0))
        return max(FEWEST_AHEAD, AHEAD * processors)

    def _sent_release(self, specification: Specification) -> Any:
        """Return a reference to the job's release, which the cluster keeps."""
        import ray

        name = f"{specification.table} version {specification.version}"
        try:
            found = read_manifest(
                self._repository, specification.table, specification.version
            ).digest
            if found != specification.release:
                raise JobFailed(
                    f"{name} is another release by now ({found}); the job is for "
                    f"{specification.release}",
                    Cause.RELEASE,
                )
            if self._package[0] != found:
                packed = pack_release(self._repository, specification.table, specification.version)
                self._package = found, ray.put(packed)
        except CascadeTablesError as exc:
            why = f"{name} cannot be loaded any more: {exc}"
            raise JobFailed(why, Cause.RELEASE) from exc
        return self._package[1]

    def _sent_conditions(self, specification: Specification, conditions: bytes) -> Any:
        """Return a reference to the rows that a job completes."""
        import ray

        job = specification.digest
        if self._conditions[0] != job or self._conditions[1] is None:
            self._conditions = job, ray.put(conditions)
        return self._conditions[1]

    def _drawn(self, reference: Any) -> Iterator[Frame | None]:
        """Yield None while waiting for rows, then the rows."""
        import ray

        patience_ends = time.monotonic() + self._patience
        while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
            if time.monotonic() >= patience_ends:
                raise JobWaits(
                    f"nobody at Ray's {self._address} has drawn in {self._patience:g} seconds; it "
                    f"has {ray.cluster_resources().get('CPU', 0):g} processors",
                    Cause.AWAY,
                )
            yield None
        try:
            rows = ray.get(reference)
        except ray.exceptions.RayTaskError as exc:
            found = exc.cause
            if isinstance(found, JobFailed | JobWaits):
                raise type(found)(str(found), found.cause) from exc
            raise JobFailed(
                f"a worker of Ray failed: {type(found).__name__}: {_first_line(found)}"
            ) from exc
        assert isinstance(rows, Frame)
        yield rows


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
