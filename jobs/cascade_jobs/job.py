"""Values of the ledger: a job with its state, a finished file, the lease of an unfinished one."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_jobs.facts import ReleaseFacts
from cascade_jobs.shards import ROWS_FOLDER, Plan, Shard
from cascade_jobs.specification import Specification
from cascade_jobs.states import JobState

# These lie beside the folder of the files with rows. Most readers of folders of Parquet skip names
# that begin with an underscore, and so can read the folder above too.
MANIFEST = "_manifest.json"
CROISSANT, PROVENANCE = "_croissant.json", "_provenance.json"
# Files that describe the rows; the manifest is written after them.
DESCRIPTIONS = (CROISSANT, PROVENANCE)


@dataclass(frozen=True)
class Job:
    """One job, as the ledger has it.

    Attributes:
        id: its identifier.
        specification: what it is to make.
        output: where its results go, a folder or URL.
        is_owned: whether that is the server's own folder, whose files are removed when the job is
            forgotten.
        state: where it is in its life.
        reason: why it failed or was cancelled; empty: neither.
        waiting: what it waits for; empty: nothing.
        created, started, finished: seconds since 1970-01-01 UTC; 0: not yet.
        rows_done: rows in finished files.
        rows_drawn: the same, with the rows of files that are being made.
        shards_done: finished files.
        shard_rows: rows of each file but the last.
        bytes: size of the finished files.
        waiting_since: since when it waits, seconds since 1970-01-01 UTC; 0: it does not.
        tries: how many times in a row it could not go on.
        waited: seconds for which it has been tried in vain; time in which no executor ran does not
            count.
        is_begun: whether its output, which was empty, may have files of it.
        is_clean: whether the files of a failed or cancelled job have been removed.
        facts: what is known of its release; None: an older server made the job, which kept none.
        rows_folder: subfolder of the output with the files of rows; empty: the output itself, in
            jobs of older servers.
        tenant: whose job it is; empty: access was not configured.
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
        """The shards of the job."""
        return Plan(self.specification.rows, self.shard_rows, self.rows_folder)

    @property
    def names(self) -> frozenset[str]:
        """The names of all files that it may have in its output."""
        return frozenset({MANIFEST, *DESCRIPTIONS, *(shard.name for shard in self.plan)})


@dataclass(frozen=True)
class Part:
    """A finished file of a job.

    Attributes:
        name: its path below the job's output, with slashes.
        first_row: the first of its rows, counted in the whole job.
        rows: how many it has; 0: it describes the other files.
        bytes: its size.
        sha256: its checksum, in hexadecimal.
    """

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Lease:
    """The right to make one file of a job, for a limited time.

    Attributes:
        job: the job.
        shard: the file's rows; None: it is the manifest, which is made last.
        fence: a number that grows with each lease; commits under an older one are refused.
        conditions: the rows to complete, as they were sent; empty: whole rows are drawn.
    """

    job: Job
    shard: Shard | None
    fence: int
    conditions: bytes = b""

    @property
    def name(self) -> str:
        """The name of the file that is made under the lease."""
        return MANIFEST if self.shard is None else self.shard.name
