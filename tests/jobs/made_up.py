"""Jobs whose rows are made up: numbers that a seed and a row's place say, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from cascade_jobs.executor import Executor, ExecutorConfig, results_of
from cascade_jobs.facts import ColumnFacts, ReleaseFacts
from cascade_jobs.job import Job
from cascade_jobs.ledger import Asked, Ledger, Limits
from cascade_jobs.ledger.leases import Gate
from cascade_jobs.ledger.owners import Owner
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_tables import ColumnData, Frame

SHARD_ROWS = 1000
SLAB = 256
LIMITS = Limits(jobs=100, bytes=2**40)
SPECIFICATION = Specification(
    table="payments",
    version=1,
    release="0123456789abcdef",
    tier="student",
    rows=2500,
    seed=7,
    seed_given=True,
    columns=("number", "label"),
)
FACTS = ReleaseFacts(
    created="2026-11-24T09:40:24+00:00",
    epsilon=None,
    files={"payments/1/codec.json": "ab" * 32},
    columns=(ColumnFacts("number", "integer", False), ColumnFacts("label", "categorical", True)),
    software="0.1.0",
)


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MadeUp:
    """A `Drawing`. What is to happen before some rows are given, a test says."""

    before: Callable[[int], object] = lambda first: None
    drawn: list[int] = field(default_factory=list)

    def rows(
        self, specification: Specification, conditions: bytes, shard: Shard
    ) -> Generator[Frame, None, None]:
        for first in range(shard.first, shard.first + shard.rows, SLAB):
            self.before(first)
            self.drawn.append(first)
            rows = min(SLAB, shard.first + shard.rows - first)
            yield made_up(specification.seed, first, rows)


def made_up(seed: int, first: int, rows: int) -> Frame:
    places = np.arange(first, first + rows, dtype=np.int64)
    numbers = (places * 2_654_435_761 + seed) % 10_007
    labels = np.array(["one", "two", "three"], object)[numbers % 3]
    none = np.zeros(rows, np.bool_)
    return Frame({"number": ColumnData(numbers, none), "label": ColumnData(labels, numbers == 5)})


@dataclass
class Jobs:
    """A state folder's ledger and folder for results, and executors that work in a test's time."""

    folder: Path
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self._opened: list[Ledger] = []
        self._owners: list[Owner] = []
        self.ledger = self.open()

    def open(self) -> Ledger:
        ids = iter(f"job{number}" for number in range(1000))
        ledger = Ledger(self.folder / "jobs.sqlite", self.clock, lambda: next(ids))
        self._opened.append(ledger)
        return ledger

    def submit(self, rows: int = 2500, facts: ReleaseFacts | None = FACTS, **more: Any) -> Job:
        specification = replace(SPECIFICATION, rows=rows, **more)
        asked = Asked(specification, SHARD_ROWS, fresh=True, facts=facts)
        return self.ledger.submit(asked, self.output_of(specification), LIMITS)[0]

    def submit_whole(self, output: str, **more: Any) -> Job:
        """One whose rows go into one table or file. As `Desk` has it, its own files are made in the
        server's folder."""
        asked = Asked(replace(SPECIFICATION, output=output, **more), SHARD_ROWS, fresh=True)
        return self.ledger.submit(asked, self.output_of(SPECIFICATION), LIMITS)[0]

    def output_of(self, specification: Specification) -> Callable[[str], tuple[str, bool]]:
        def output(name: str) -> tuple[str, bool]:
            if specification.output:
                return specification.output, False
            return str(results_of(self.folder, name)), True

        return output

    def owner(self) -> Owner:
        owner = Owner(self.folder / "owners")
        self._owners.append(owner)
        return owner

    def executor(
        self, drawing: MadeUp | None = None, gate: Gate | None = None, **config: Any
    ) -> Executor:
        """One with a connection of its own, as another process has it."""
        drawing = drawing or MadeUp()
        config_ = ExecutorConfig(**config)
        return Executor(self.open(), drawing, self.owner(), self.folder, config_, self.clock, gate)

    def finish(self, executor: Executor | None = None) -> None:
        executor = executor or self.executor()
        while executor.step():
            pass

    def close(self) -> None:
        for owner in self._owners:
            owner.leave()
        for ledger in self._opened:
            ledger.close()


def contents(folder: str | Path) -> dict[str, bytes]:
    """All files of a folder, by their paths below it."""
    files = sorted(each for each in Path(folder).rglob("*") if each.is_file())
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in files}
