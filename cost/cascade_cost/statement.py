"""A bill: the cost of each tier, table and tenant, the cost of idle resources, and savings.

Processor time is charged to its user. Memory is charged in proportion to the processor time: a
worker of 140 MiB that computed for a second has cost 140 MiB seconds, and its memory while it
waited is idle. So the cost of a row does not depend on the server's utilisation, and the cost of an
unused server is shown separately. Pool and cache use memory to avoid computing, so all of their
memory is charged to them. An executor exists only for jobs, so all of its memory is charged to
jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from cascade_cost.prices import Prices
from cascade_cost.usage import GENERATE, REFILL, TIERS, Compute, Usage

HOUR, GIB = 3600, 2**30
PER_ROWS = 10_000
# Process roles whose memory each tier uses.
PROCESS_OF = {
    "pool": "worker",
    "cache": "worker",
    "student": "worker",
    "teacher": "teacher",
    REFILL: "teacher",
    GENERATE: "teacher",
}
# Names on the bill.
BILLED_AS = {REFILL: "pool", GENERATE: "teacher"}
IDLE, UNUSED = "idle", "unused"


@dataclass(frozen=True)
class Line:
    """One line of a bill.

    Attributes:
        table, tier, tenant: charged to; an empty table: no table.
        core_seconds, gpu_seconds, gib_seconds: charged resources.
        answers, rows, tokens: results.
        core_cost, gpu_cost, memory_cost: in the prices' currency, not rounded.
    """

    table: str
    tier: str
    tenant: str
    core_seconds: Decimal = Decimal(0)
    gpu_seconds: Decimal = Decimal(0)
    gib_seconds: Decimal = Decimal(0)
    answers: int = 0
    rows: int = 0
    tokens: int = 0
    core_cost: Decimal = Decimal(0)
    gpu_cost: Decimal = Decimal(0)
    memory_cost: Decimal = Decimal(0)

    @property
    def cost(self) -> Decimal:
        """Total cost of processors, GPUs and memory."""
        return self.core_cost + self.gpu_cost + self.memory_cost

    @property
    def per_10k(self) -> Decimal | None:
        """Cost of 10,000 rows; None: there are no rows."""
        return PER_ROWS * self.cost / self.rows if self.rows else None


@dataclass(frozen=True)
class Savings:
    """Cost of everything that pool, cache and student returned, compared with the teacher's cost
    for it.

    The teacher's cost is estimated from its usage here: per value as in its large batches (of
    `Generate` and for the pool), and per answer the additional cost of its single calls. A row with
    three missing columns counts as three values, not a whole row.

    Attributes:
        spent: on these answers.
        by_teacher: the teacher's estimated cost for them.
        without: tables without an estimate: the teacher has drawn nothing for them.
        at_least: tables whose teacher has drawn in large batches only: single calls would have cost
            more.
    """

    spent: Decimal
    by_teacher: Decimal
    without: tuple[str, ...] = ()
    at_least: tuple[str, ...] = ()

    @property
    def saved(self) -> Decimal:
        """Savings; negative if rows were made ahead of time but never used."""
        return self.by_teacher - self.spent

    @property
    def ratio(self) -> float | None:
        """Share that was saved; None: there is nothing to compare with."""
        return float(self.saved / self.by_teacher) if self.by_teacher else None


@dataclass(frozen=True)
class Statement:
    """A bill.

    Attributes:
        since, until, serving_seconds: as in `Usage`.
        prices: that it is made with.
        lines: by table, tier and tenant; rows that were made for the pool are the pool's.
        idle: processor time of no request (to load, to keep books, to refuse), and memory that
            waited.
        unused: reserved and not used at all; None: nothing is reserved.
        savings: beside having the teacher draw everything.
    """

    since: float
    until: float
    serving_seconds: float
    prices: Prices
    lines: tuple[Line, ...]
    idle: Line
    unused: Line | None
    savings: Savings

    @property
    def total(self) -> Line:
        """Sum of all lines, including idle and unused ones."""
        rest = [self.idle] if self.unused is None else [self.idle, self.unused]
        return together([*self.lines, *rest])

    def by(self, key: Callable[[Line], str]) -> dict[str, Line]:
        """Return the sums of lines by key, in the order of the keys; without idle ones."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(key(line), []).append(line)
        return {name: together(found[name]) for name in sorted(found)}

    def by_tier(self) -> dict[str, Line]:
        """Return one line per tier, in display order."""
        found = self.by(lambda line: line.tier)
        return {tier: found[tier] for tier in TIERS if tier in found}


def together(lines: Iterable[Line]) -> Line:
    """Return the sum of lines; table, tier and tenant are kept if all agree."""
    some = list(lines)

    def common(values: set[str]) -> str:
        return values.pop() if len(values) == 1 else ""

    return Line(
        common({line.table for line in some}),
        common({line.tier for line in some}),
        common({line.tenant for line in some}),
        sum((line.core_seconds for line in some), Decimal(0)),
        sum((line.gpu_seconds for line in some), Decimal(0)),
        sum((line.gib_seconds for line in some), Decimal(0)),
        sum(line.answers for line in some),
        sum(line.rows for line in some),
        sum(line.tokens for line in some),
        sum((line.core_cost for line in some), Decimal(0)),
        sum((line.gpu_cost for line in some), Decimal(0)),
        sum((line.memory_cost for line in some), Decimal(0)),
    )


def statement(usage: Usage, prices: Prices) -> Statement:
    """Make a bill for usage."""
    memory = _memory_of(usage)
    charged = [
        priced(
            prices,
            Line(
                each.table,
                BILLED_AS.get(each.tier, each.tier),
                each.tenant,
                Decimal(each.seconds),
                Decimal(each.gpu_seconds),
                Decimal(memory(each)) / GIB,
                # Rows made for the pool are counted when they are used.
                *((0, 0, 0) if each.tier == REFILL else (each.answers, each.rows, each.tokens)),
            ),
        )
        for each in usage.compute
    ]
    lines: dict[tuple[str, str, str], list[Line]] = {}
    for line in charged:
        lines.setdefault((line.table, line.tier, line.tenant), []).append(line)
    billed = tuple(together(lines[key]) for key in sorted(lines))
    idle = _idle(usage, prices, billed)
    return Statement(
        usage.since,
        usage.until,
        usage.serving_seconds,
        prices,
        billed,
        idle,
        _unused(usage, prices, billed, idle),
        _savings(usage, prices, billed),
    )


def priced(prices: Prices, line: Line) -> Line:
    """Return a line with its costs."""
    return Line(
        line.table,
        line.tier,
        line.tenant,
        line.core_seconds,
        line.gpu_seconds,
        line.gib_seconds,
        line.answers,
        line.rows,
        line.tokens,
        prices.core_hour * line.core_seconds / HOUR,
        prices.gpu_hour * line.gpu_seconds / HOUR,
        prices.gib_hour * line.gib_seconds / HOUR,
    )


def _memory_of(usage: Usage) -> Callable[[Compute], float]:
    """Return a function for the byte-seconds charged for a computation."""
    serving, worker = max(usage.serving_seconds, 1e-9), usage.process("worker")
    own = {"pool": worker.pool_byte_seconds, "cache": worker.cache_byte_seconds}
    of_a_second = {}
    for role in ("worker", "teacher"):
        found = usage.process(role)
        kept = sum(own.values()) if role == "worker" else 0.0
        lived = serving * max(1, found.live)
        of_a_second[role] = max(0.0, found.byte_seconds - kept) / lived
    seconds: dict[str, float] = {}
    for each in usage.compute:
        seconds[each.tier] = seconds.get(each.tier, 0.0) + each.seconds
    executors = usage.process("executor").byte_seconds

    def memory(each: Compute) -> float:
        share = each.seconds / seconds[each.tier] if seconds[each.tier] else 0.0
        if each.tier == "job":
            return executors * share
        held = own.get(each.tier, 0.0) * share
        return each.seconds * of_a_second[PROCESS_OF.get(each.tier, "worker")] + held

    return memory


def _idle(usage: Usage, prices: Prices, lines: Iterable[Line]) -> Line:
    used = together(lines)
    cores = Decimal(sum(each.seconds for each in usage.processes)) - used.core_seconds
    held = Decimal(sum(each.byte_seconds for each in usage.processes)) / GIB - used.gib_seconds
    # A process reports its usage once per second, so it may have been charged for more.
    zero = Decimal(0)
    return priced(prices, Line("", IDLE, "", max(zero, cores), zero, max(zero, held)))


def _unused(usage: Usage, prices: Prices, lines: Iterable[Line], idle: Line) -> Line | None:
    if prices.reserved is None:
        return None
    used, serving, zero = together([*lines, idle]), Decimal(usage.serving_seconds), Decimal(0)
    reserved = prices.reserved
    return priced(
        prices,
        Line(
            "",
            UNUSED,
            "",
            max(zero, reserved.cores * serving - used.core_seconds),
            max(zero, reserved.gpus * serving - used.gpu_seconds),
            max(zero, reserved.memory_gib * serving - used.gib_seconds),
        ),
    )


@dataclass(frozen=True)
class _Teacher:
    """Costs of a table's teacher.

    Attributes:
        an_answer, a_token: the cost of each.
        singly: whether it has answered single calls.
    """

    an_answer: Decimal
    a_token: Decimal
    singly: bool


def _teachers(usage: Usage, prices: Prices) -> dict[str, _Teacher]:
    """Return the costs for each table whose teacher has drawn anything."""
    memory = _memory_of(usage)
    found: dict[str, dict[bool, list[Line]]] = {}
    for each in usage.compute:
        if each.tier in ("teacher", REFILL, GENERATE):
            gib = Decimal(memory(each)) / GIB
            seconds = Decimal(each.seconds), Decimal(each.gpu_seconds)
            line = Line("", "", "", *seconds, gib, each.answers, each.rows, each.tokens)
            parts = found.setdefault(each.table, {True: [], False: []})
            parts[each.tier == "teacher"].append(priced(prices, line))
    out = {}
    for table, parts in found.items():
        one, many = together(parts[True]), together(parts[False])
        whole = many if many.tokens else one
        if not whole.tokens:
            continue
        a_token = whole.cost / whole.tokens
        beside = max(Decimal(0), one.cost - a_token * one.tokens)
        an_answer = beside / one.answers if one.answers and many.tokens else Decimal(0)
        out[table] = _Teacher(an_answer, a_token, bool(one.answers))
    return out


def _savings(usage: Usage, prices: Prices, lines: Iterable[Line]) -> Savings:
    """Compute the savings; see `Savings`."""
    teachers = _teachers(usage, prices)
    spent = by_teacher = Decimal(0)
    without, at_least = set(), set()
    for line in lines:
        if line.tier not in ("pool", "cache", "student"):
            continue
        teacher = teachers.get(line.table)
        if teacher is None:
            if line.rows:
                without.add(line.table)
            continue
        # Includes rows that were made for the pool but never used.
        spent += line.cost
        by_teacher += teacher.an_answer * line.answers + teacher.a_token * line.tokens
        if line.rows and not teacher.singly:
            at_least.add(line.table)
    return Savings(spent, by_teacher, tuple(sorted(without)), tuple(sorted(at_least)))
