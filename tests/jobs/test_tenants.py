"""Jobs of tenants, who do not know of each other's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cascade_jobs.errors import SpecificationRefused
from cascade_jobs.ledger import Asked

from tests.jobs.made_up import LIMITS, SHARD_ROWS, SPECIFICATION, Jobs


def submit(jobs: Jobs, asked: Asked) -> tuple[str, bool]:
    job, was_there = jobs.ledger.submit(asked, jobs.output_of(asked.specification), LIMITS)
    return job.id, was_there


class TestTenants:
    """What one has asked for is not another's, and is not named to it."""

    def test_jobs_and_tokens_are_each_tenants_own(self, jobs: Jobs) -> None:
        mine = Asked(SPECIFICATION, SHARD_ROWS, token="token", tenant="a")
        others = [replace(mine, tenant="b"), replace(mine, tenant="")]
        first, _ = submit(jobs, mine)
        assert submit(jobs, replace(mine, token="")) == (first, True)
        for asked in others:
            other, was_there = submit(jobs, asked)
            assert other != first
            assert not was_there
        assert [each.id for each in jobs.ledger.jobs(10, "a")] == [first]
        assert len(jobs.ledger.jobs(10)) == 3

    def test_what_another_tenant_writes_is_not_named(self, jobs: Jobs) -> None:
        made = replace(SPECIFICATION, output="/data/rows")
        asked = Asked(made, SHARD_ROWS, tenant="a")
        first, _ = submit(jobs, asked)
        with pytest.raises(SpecificationRefused, match="results of another job") as caught:
            submit(jobs, replace(asked, tenant="b"))
        assert first not in str(caught.value)
