"""A server's report of the resources it has used, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cascade_proto import synthesis_pb2 as pb

# In display order.
TIERS = ("pool", "cache", "student", "teacher", "job")
REFILL, GENERATE = "refill", "generate"
ROLES = ("worker", "teacher", "executor", "keeper")


@dataclass(frozen=True)
class Compute:
    """Computation for the answers of one table, tier and tenant.

    Attributes:
        table, tenant: charged to; an empty tenant: tenants are not distinguished.
        tier: one of `TIERS`; or `REFILL`, rows made for the pool, which are charged to the pool; or
            `GENERATE`, its messages, which are charged to the teacher.
        seconds, gpu_seconds: of one core, and of one GPU.
        answers, rows, tokens: results; tokens are the values that were not given.
    """

    table: str
    tier: str
    tenant: str
    seconds: float
    gpu_seconds: float = 0.0
    answers: int = 0
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Processes:
    """All processes of a server with the same role.

    Attributes:
        role: one of `ROLES`.
        live: number of processes.
        seconds: of one core, for any purpose.
        memory_bytes, peak_memory_bytes: current memory, and the sum of each process's peak.
        pool_bytes, cache_bytes: parts of the current memory.
        byte_seconds, pool_byte_seconds, cache_byte_seconds: so far.
    """

    role: str
    live: int = 0
    seconds: float = 0.0
    memory_bytes: int = 0
    peak_memory_bytes: int = 0
    pool_bytes: int = 0
    cache_bytes: int = 0
    byte_seconds: float = 0.0
    pool_byte_seconds: float = 0.0
    cache_byte_seconds: float = 0.0


@dataclass(frozen=True)
class Usage:
    """Resources that a server has used.

    Attributes:
        since, until: seconds since 1970-01-01 UTC.
        serving_seconds: time in this period in which the server ran.
        compute: by table, tier and tenant.
        processes: by role.
        tables: that it serves.
    """

    since: float
    until: float
    serving_seconds: float
    compute: tuple[Compute, ...] = ()
    processes: tuple[Processes, ...] = ()
    tables: tuple[str, ...] = ()

    @classmethod
    def from_message(cls, message: pb.GetUsageResponse) -> Usage:
        """Convert the answer of `GetUsage`; fields of newer servers are ignored."""
        compute = tuple(
            Compute(
                each.table,
                pb.UsageTier.Name(each.tier).removeprefix("USAGE_TIER_").lower(),
                each.tenant,
                each.compute_seconds,
                each.gpu_seconds,
                each.answers,
                each.rows,
                each.tokens,
            )
            for each in message.compute
            if each.tier in pb.UsageTier.values()
        )
        processes = tuple(
            Processes(
                pb.ProcessRole.Name(each.role).removeprefix("PROCESS_ROLE_").lower(),
                each.processes,
                each.compute_seconds,
                each.memory_bytes,
                each.peak_memory_bytes,
                each.pool_bytes,
                each.cache_bytes,
                each.memory_byte_seconds,
                each.pool_byte_seconds,
                each.cache_byte_seconds,
            )
            for each in message.processes
            if each.role in pb.ProcessRole.values()
        )
        return cls(
            message.since,
            message.until,
            message.serving_seconds,
            compute,
            processes,
            tuple(message.tables),
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Usage:
        """Restore the output of `dataclasses.asdict`, possibly converted through JSON.

        Raises:
            TypeError, KeyError, ValueError: it is invalid.
        """
        return cls(
            float(document["since"]),
            float(document["until"]),
            float(document["serving_seconds"]),
            tuple(Compute(**each) for each in document["compute"]),
            tuple(Processes(**each) for each in document["processes"]),
            tuple(document["tables"]),
        )

    def process(self, role: str) -> Processes:
        """Return the processes of a role; zero processes if nothing is known."""
        return next((each for each in self.processes if each.role == role), Processes(role))

    def since_then(self, before: Usage) -> Usage:
        """Return the usage since an earlier report of the same server.

        Args:
            before: that report.
        """
        seen = {(each.table, each.tier, each.tenant): each for each in before.compute}
        compute = []
        for each in self.compute:
            old = seen.get((each.table, each.tier, each.tenant))
            if old is not None:
                each = Compute(
                    each.table,
                    each.tier,
                    each.tenant,
                    max(0.0, each.seconds - old.seconds),
                    max(0.0, each.gpu_seconds - old.gpu_seconds),
                    max(0, each.answers - old.answers),
                    max(0, each.rows - old.rows),
                    max(0, each.tokens - old.tokens),
                )
            compute.append(each)
        processes = []
        for process in self.processes:
            was = before.process(process.role)
            processes.append(
                Processes(
                    process.role,
                    process.live,
                    max(0.0, process.seconds - was.seconds),
                    process.memory_bytes,
                    process.peak_memory_bytes,
                    process.pool_bytes,
                    process.cache_bytes,
                    max(0.0, process.byte_seconds - was.byte_seconds),
                    max(0.0, process.pool_byte_seconds - was.pool_byte_seconds),
                    max(0.0, process.cache_byte_seconds - was.cache_byte_seconds),
                )
            )
        serving = max(0.0, self.serving_seconds - before.serving_seconds)
        return Usage(
            before.until, self.until, serving, tuple(compute), tuple(processes), self.tables
        )
