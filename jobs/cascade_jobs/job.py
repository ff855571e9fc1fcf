"""A job as the ledger knows it, one of its parts, and the lease of a shard: values."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_jobs.facts import ReleaseFacts
from cascade_jobs.shards import ROWS_FOLDER, Plan, Shard
from cascade_jobs.specification import Specification
from cascade_jobs.states import JobState

# Beside the folder of the files with rows; most readers of a folder of Parquet pass over names that
# begin so, and read the folder above that one too.
MANIFEST = "_manifest.json"
CROISSANT, PROVENANCE = "_croissant.json", "_provenance.json"
# What is said of the files beside them; the manifest comes last.
DESCRIPTIONS = (CROISSANT, PROVENANCE)


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: what it is called.
        specification: what it is to make.
        output: where its results are, a folder or URL.
        is_owned: whether that is the server's own folder, whose files go when the job is forgotten.
        state: where it is in its life.
        reason: why it failed or was cancelled; "": neither.
        waiting: what it waits for, where it cannot go on; "": nothing.
        created, started, finished: seconds since 1970-01-01 UTC; 0: not yet.
        rows_done: rows in files that are whole; `rows_drawn`: the same, and those of files that are
            being made.
        shards_done: files that are whole.
        shard_rows: rows of each file but the last.
        bytes: of the files that are whole.
        waiting_since: since when it waits; 0: it does not.
        tries: times in a row that it could not go on.
        waited: seconds of that time in which it was tried again and again: whoever tries may have
            been stopped in between.
        is_begun: whether there may be files of it in its output, which was empty before.
        is_clean: whether the files of a job that came to nothing are gone.
        facts: what is known of its release; None: a server made it that kept none.
        rows_folder: of the files with rows, below the output; "": the output itself, as a server of
            before has laid them out. A job keeps to it.
        tenant: whose it is; "": nobody was asked who they are.
    """

    id: str
    specification: Specification
    output: str
    is_owned: bool
    state: JobState
    reason: str
    waiting: str
    created: float
    started: float
    finished: float
    rows_done: int
    rows_drawn: int
    shards_done: int
    shard_rows: int
    bytes: int
    waiting_since: float = 0.0
    tries: int = 0
    waited: float = 0.0
    is_begun: bool = False
    is_clean: bool = False
    facts: ReleaseFacts | None = None
    rows_folder: str = ROWS_FOLDER
    tenant: str = ""

    @property
    def plan(self) -> Plan:
        """The shards that it is cut into."""
        return Plan(self.specification.rows, self.shard_rows, self.rows_folder)

    @property
    def names(self) -> frozenset[str]:
        """Of all files that it may have."""
        return frozenset({MANIFEST, *DESCRIPTIONS, *(shard.name for shard in self.plan)})


@dataclass(frozen=True)
class Part:
    """A file of a job's results that is whole.

    Attributes:
        name: in the job's output: its path from there, with slashes.
        first_row, rows: of the job; no rows: it says something of the others.
        bytes, sha256: of the file.
    """

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Lease:
    """The right to make one file of a job, for a while.

    Attributes:
        job: whose file it is.
        shard: the rows; None: it is the manifest, which is made last.
        fence: grows with each lease that is given: what is held by an older one is refused.
        conditions: the rows to complete, as they were sent; empty: there are none.
    """

    job: Job
    shard: Shard | None
    fence: int
    conditions: bytes = b""

    @property
    def name(self) -> str:
        """The file that is made under the lease: a shard's, or the manifest."""
        return MANIFEST if self.shard is None else self.shard.name
