"""What a server has used since it began to count, as one value to report, save and restore."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade_proto import synthesis_pb2 as pb

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.compute import UsageKey, UsageTier, Used, added
from cascade_server.counts.shared.process_usage import Held, ProcessRole, ProcessUsed, by_role

TIERS = {tier: pb.UsageTier.Value(f"USAGE_TIER_{tier.name}") for tier in UsageTier}
ROLES = {role: pb.ProcessRole.Value(f"PROCESS_ROLE_{role.name}") for role in ProcessRole}


@dataclass(frozen=True)
class Usage:
    """Usage of all of a server's processes together.

    Attributes:
        since: when counting began, Unix seconds.
        serving: seconds since then in which a server was running.
        compute: computation by beneficiary.
        processes: usage by role.
    """

    since: float
    serving: float
    compute: Mapping[UsageKey, Used] = field(default_factory=dict)
    processes: Mapping[ProcessRole, ProcessUsed] = field(default_factory=dict)

    def as_message(self, now: float, tables: frozenset[str]) -> pb.GetUsageResponse:
        """Convert to the reported message; `now` is in Unix seconds, `tables` are those served."""
        out = pb.GetUsageResponse(
            since=self.since, until=now, serving_seconds=self.serving, tables=sorted(tables)
        )
        for key, used in self.compute.items():
            out.compute.add(
                table=key.table,
                tier=TIERS[key.tier],
                tenant=key.tenant,
                compute_seconds=used.seconds,
                gpu_seconds=used.gpu_seconds,
                answers=used.answers,
                rows=used.rows,
                tokens=used.tokens,
            )
        for role, found in self.processes.items():
            held, lasting = found.held, found.byte_seconds
            out.processes.add(
                role=ROLES[role],
                processes=found.processes,
                compute_seconds=found.seconds,
                memory_bytes=round(held.process),
                peak_memory_bytes=round(found.peak),
                memory_byte_seconds=lasting.process,
                pool_bytes=round(held.pool),
                cache_bytes=round(held.cache),
                pool_byte_seconds=lasting.pool,
                cache_byte_seconds=lasting.cache,
            )
        return out

    def as_document(self) -> dict[str, Any]:
        """Convert to the saved document, for `from_document`; what processes hold is not saved."""
        return {
            "since": self.since,
            "serving": self.serving,
            "compute": [[*key, *used] for key, used in self.compute.items()],
            "processes": {
                role: [found.seconds, *found.byte_seconds] for role, found in self.processes.items()
            },
        }

    @classmethod
    def from_document(cls, document: Any) -> Usage:
        """Restore from a saved document.

        Raises:
            ValueError, TypeError, KeyError: it is not a saved document.
        """
        compute = {
            UsageKey(str(table), UsageTier(tier), str(tenant)): Used(
                _amount(seconds), _amount(gpu), *(int(_amount(each)) for each in counts)
            )
            for table, tier, tenant, seconds, gpu, *counts in document["compute"]
        }
        processes = {}
        for role, (seconds, *held) in document["processes"].items():
            found = Held(*(_amount(each) for each in held))
            processes[ProcessRole(role)] = ProcessUsed(seconds=_amount(seconds), byte_seconds=found)
        since, serving = _amount(document["since"]), _amount(document["serving"])
        return cls(since, serving, compute, processes)


def usage_of(books: Books) -> Usage:
    """Return the usage so far."""
    began = books.usage_since
    # An earlier server's start is as it was written, and may have been in the future.
    own = began.own + books.clock.ahead()
    return Usage(
        since=min(began.restored or own, own),
        serving=began.serving + max(0.0, books.clock() - began.own),
        compute=added([*books.compute, books.before]),
        processes=by_role(books.processes),
    )


def usage_of_this(books: Books) -> Usage:
    """Return this server's usage without earlier servers', for counters that begin with it.

    An earlier server's usage is known as it was last saved. If that server was killed, it had
    reported more than that: a monitoring system would see a counter that fell, take it as restarted
    and add all of it again.
    """
    own = books.usage_since.own
    return Usage(
        since=own + books.clock.ahead(),
        serving=max(0.0, books.clock() - own),
        compute=added(books.compute),
        processes=by_role(books.processes, here=True),
    )


def restore_usage(books: Books, usage: Usage) -> None:
    """Continue from an earlier server's usage; called by the process that keeps the books."""
    for key, used in usage.compute.items():
        books.before.add(key, used)
    for role, found in usage.processes.items():
        place = next((each for each in books.processes if each.role is role), None)
        if place is not None:
            place.restore(found.seconds, found.byte_seconds)
    books.usage_since.restore(usage.since, usage.serving)


def _amount(number: Any) -> float:
    found = float(number)
    if not math.isfinite(found) or found < 0 or found > 2**60:
        raise ValueError(f"a usage of {number!r}")
    return found
