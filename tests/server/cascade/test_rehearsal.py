"""A release answers before anybody asks it, or is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.rehearsal import answered, rehearse
from cascade_server.cascade.repository import Repository
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import ReleaseRefused
from cascade_tables import load_release, write_release

from tests.releases import TABLE


def test_it_answers_as_it_will(repository: Path) -> None:
    runtime = Runtime(load_release(repository, TABLE, 1))
    answer = answered(pb.SynthesizeRequest(table=TABLE, rows=pb.Rows(count=1), seed=1), runtime)
    assert len(answer.rows.columns) == runtime.columns
    assert answer.provenance.tier == pb.TIER_STUDENT
    rehearse(runtime, times=3)


def test_what_cannot_be_answered_from_is_refused_by_name(repository: Path, tmp_path: Path) -> None:
    """Its hashes are right and its graph runs, but it is that of another table."""
    mine, other = (load_release(repository, table, 1) for table in (TABLE, "shops"))
    manifest = replace(mine.manifest, student=other.manifest.student)
    write_release(tmp_path, manifest, mine.codec, other.student, mine.teacher)
    with pytest.raises(ReleaseRefused, match=f"{TABLE} version 1: ") as caught:
        Repository.load(tmp_path, 1, lambda _: None)
    assert (caught.value.table, caught.value.version) == (TABLE, 1)


def test_only_what_is_wanted_is_loaded(repository: Path) -> None:
    found = Repository.load(repository, 1, lambda _: None, wanted={TABLE: (3,)})
    assert {table: list(versions) for table, versions in found.tables.items()} == {TABLE: [3]}
