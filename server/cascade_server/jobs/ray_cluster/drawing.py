"""A job's rows, drawn by the workers of a Ray cluster; a `Drawing` of `cascade_jobs`.

Ray is whom rows are asked of, and no more than that: which file is made next, by whom, and what is
whole stays in the server's own ledger. A worker that dies, and a machine that goes away, has its
rows drawn by another one, and they are the same.
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
# Seconds for which some rows may be waited for: a cluster that grows on demand takes minutes.
PATIENCE = 600.0
# Seconds in which the machine that an address names is to answer at all.
REACH_SECONDS = 10.0
# Seconds between two looks for them, after each of which the executor renews its lease.
LOOK_SECONDS = 1.0
# Slabs that are asked for ahead, for each processor of the cluster, and at least.
AHEAD, FEWEST_AHEAD = 2, 4


def check_installed() -> None:
    """Raises ConfigError where Ray is not installed."""
    if find_spec("ray") is None:
        raise ConfigError(f"executor is a Ray cluster, which needs ray: pip install '{EXTRA}'")


class RayDrawing:
    """Has rows drawn by a Ray cluster, as long as it is there.

    Args:
        address: `ray://HOST:PORT`, of its Ray Client server.
        repository: with the releases; a worker is sent the job's own.
        teacher_threads: of one pass of the teacher, there.
        patience: seconds that some rows are waited for.
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
        # What the cluster was given last, by the release or the job that it is of.
        self._package: tuple[str, Any] = "", None
        self._conditions: tuple[str, Any] = "", None

    def close(self) -> None:
        """Leave the cluster; what is underway there is dropped."""
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
            JobFailed: the release is gone or is another one, or a worker says that it cannot draw.
            JobWaits: the cluster is away, or has nobody who draws.
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
        """Be connected.

        Raises:
            JobWaits: nobody answers there.
        """
        if self._draw is not None:
            return
        # Read when Ray is imported. Nothing is sent to its makers; what workers print is theirs.
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
        except Exception as exc:  # of Ray, of its gRPC, or of a version that is another
            ray.shutdown()
            away = f"Ray at {self._address} cannot be reached: {_first_line(exc)}"
            raise JobWaits(away, Cause.AWAY) from exc
        # As often as a worker is lost: rows are the same whoever draws them.
        self._draw = ray.remote(num_cpus=1, max_retries=-1)(draw_slab)
        log.info("jobs are drawn by Ray at %s", self._address)

    def _reach(self) -> None:
        """Look whether anybody listens: Ray itself tries for half a minute before it says no.

        Raises:
            JobWaits: nobody does.
        """
        host, _, port = self._address.removeprefix(RAY).rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS):
                pass
        except (OSError, OverflowError, ValueError) as exc:  # no machine, port or name is called so
            why = f"Ray at {self._address} cannot be reached: {_first_line(exc)}"
            raise JobWaits(why, Cause.AWAY) from exc

    def _most_ahead(self) -> int:
        import ray

        processors = int(ray.cluster_resources().get("CPU", 0))
        return max(FEWEST_AHEAD, AHEAD * processors)

    def _sent_release(self, specification: Specification) -> Any:
        """A reference to the job's release, which the cluster keeps."""
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
        """A reference to the rows that a job completes."""
        import ray

        job = specification.digest
        if self._conditions[0] != job or self._conditions[1] is None:
            self._conditions = job, ray.put(conditions)
        return self._conditions[1]

    def _drawn(self, reference: Any) -> Iterator[Frame | None]:
        """Some rows, once they are there; None while they are waited for."""
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
