"""The ledger's tables by version: create, migrate, or refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from cascade_jobs.errors import LedgerRefused

# Statements that migrate each version to the next; the first creates the tables. Append to add one.
MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            token TEXT UNIQUE,
            digest TEXT NOT NULL,
            specification TEXT NOT NULL,
            conditions BLOB NOT NULL,
            output TEXT NOT NULL,
            is_owned INTEGER NOT NULL,
            state TEXT NOT NULL,
            reason TEXT NOT NULL DEFAULT '',
            waiting TEXT NOT NULL DEFAULT '',
            waiting_since REAL NOT NULL DEFAULT 0,
            tries INTEGER NOT NULL DEFAULT 0,
            retry_at REAL NOT NULL DEFAULT 0,
            created REAL NOT NULL,
            started REAL NOT NULL DEFAULT 0,
            finished REAL NOT NULL DEFAULT 0,
            shard_rows INTEGER NOT NULL,
            last_fence INTEGER NOT NULL DEFAULT 0,
            is_clean INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX jobs_by_state ON jobs (state)",
        "CREATE INDEX jobs_by_digest ON jobs (digest)",
        "CREATE INDEX jobs_by_created ON jobs (created)",
        "CREATE INDEX jobs_by_finished ON jobs (finished)",
        # The one without rows is the manifest.
        """CREATE TABLE shards (
            job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            first_row INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            state TEXT NOT NULL DEFAULT 'WAITING',
            owner TEXT NOT NULL DEFAULT '',
            fence INTEGER NOT NULL DEFAULT 0,
            until REAL NOT NULL DEFAULT 0,
            drawn INTEGER NOT NULL DEFAULT 0,
            sha256 TEXT NOT NULL DEFAULT '',
            bytes INTEGER NOT NULL DEFAULT 0,
            leases INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (job, number)
        ) WITHOUT ROWID""",
        "CREATE TABLE fences (last INTEGER NOT NULL)",
        "INSERT INTO fences VALUES (0)",
    ),
    (
        # What is known of the release; '': a server of before asked for the job.
        "ALTER TABLE jobs ADD COLUMN facts TEXT NOT NULL DEFAULT ''",
        # Of a file that has no rows and is not the manifest; they come with it.
        "ALTER TABLE shards ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        # Whether an executor may run a job, by the policy that its key names.
        """CREATE TABLE decisions (
            job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            may_run INTEGER NOT NULL,
            why TEXT NOT NULL,
            PRIMARY KEY (job, key)
        ) WITHOUT ROWID""",
    ),
    (
        # What has happened since the ledger was made: jobs are forgotten, and counts only grow.
        """CREATE TABLE counts (
            name TEXT NOT NULL,
            of_table TEXT NOT NULL,
            label TEXT NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (name, of_table, label)
        ) WITHOUT ROWID""",
    ),
    (
        # Where below a job's output its files with rows are; '': they are beside its manifest, as
        # servers of before have put them.
        "ALTER TABLE jobs ADD COLUMN rows_folder TEXT NOT NULL DEFAULT ''",
    ),
    (
        # Whose a job is; '': nobody was asked who they are.
        "ALTER TABLE jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX jobs_by_tenant ON jobs (tenant, created)",
    ),
    (
        # Whether somebody has seen that there is nothing in the output, and may have written to it.
        "ALTER TABLE jobs ADD COLUMN is_begun INTEGER NOT NULL DEFAULT 0",
        "UPDATE jobs SET is_begun = 1 WHERE started > 0",
        # Seconds for which a job has been tried in vain, and when it was tried last.
        "ALTER TABLE jobs ADD COLUMN waited REAL NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN tried_at REAL NOT NULL DEFAULT 0",
    ),
)


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate the tables to the current version, completely or not at all.

    Raises:
        LedgerRefused: a newer server made them.
        sqlite3.Error: the file is not SQLite's, or cannot be written.
    """
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated them in the meantime.
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise LedgerRefused(
                f"{path} is a ledger of version {version}, which a newer server made; this one "
                f"knows those up to {len(MIGRATIONS)}: run the newer one, or move the file away"
            )
        for steps in MIGRATIONS[version:]:
            for step in steps:
                connection.execute(step)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:  # also KeyboardInterrupt: the ledger would stay locked
        # A full disk may have ended the transaction already; then this does nothing.
        connection.rollback()
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
