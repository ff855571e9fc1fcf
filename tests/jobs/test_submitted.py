"""What is asked for: written down once, refused, or there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cascade_jobs.errors import (
    SpecificationRefused,
    TokenTaken,
    TooManyJobs,
)
from cascade_jobs.ledger import Asked, Limits, Remains

from tests.jobs.made_up import LIMITS, SHARD_ROWS, SPECIFICATION, Jobs


class TestSubmit:
    """One job, however often it is asked for."""

    def submit(self, jobs: Jobs, asked: Asked, limits: Limits = LIMITS) -> tuple[str, bool]:
        output = jobs.output_of(asked.specification)
        job, was_there = jobs.ledger.submit(asked, output, limits)
        return job.id, was_there

    def test_a_token_stands_for_one_job(self, jobs: Jobs) -> None:
        asked = Asked(SPECIFICATION, SHARD_ROWS, token="mine", fresh=True)
        first, was_there = self.submit(jobs, asked)
        assert not was_there
        assert self.submit(jobs, asked) == (first, True)
        assert len(jobs.ledger.jobs()) == 1

    def test_a_token_stands_for_no_other_job(self, jobs: Jobs) -> None:
        first, _ = self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS, token="mine"))
        other = replace(SPECIFICATION, rows=1)
        with pytest.raises(TokenTaken, match=f"'mine' stands for job {first}"):
            self.submit(jobs, Asked(other, SHARD_ROWS, token="mine"))

    def test_the_same_specification_is_the_same_job_unless_told_otherwise(self, jobs: Jobs) -> None:
        first, _ = self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS))
        assert self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS)) == (first, True)
        other, was_there = self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS, fresh=True))
        assert other != first
        assert not was_there

    def test_a_job_that_came_to_nothing_is_not_taken_for_another(self, jobs: Jobs) -> None:
        first, _ = self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS))
        jobs.ledger.cancel(first, "not wanted")
        assert self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS))[1] is False

    def test_a_job_whose_results_are_gone_is_made_anew(self, jobs: Jobs) -> None:
        job = jobs.submit()
        jobs.finish()
        asked = Asked(SPECIFICATION, SHARD_ROWS)
        output = jobs.output_of(SPECIFICATION)
        assert [each.id for each in jobs.ledger.done_like(SPECIFICATION)] == [job.id]
        assert jobs.ledger.submit(asked, output, LIMITS)[0].id == job.id
        gone = Remains(gone={job.id})
        assert jobs.ledger.submit(asked, output, LIMITS, gone)[0].id != job.id

    def test_of_jobs_that_are_done_the_newest_is_looked_for_first(self, jobs: Jobs) -> None:
        made = []
        for _ in range(3):
            made.append(jobs.submit().id)
            jobs.clock.now += 1
        jobs.finish()
        assert [each.id for each in jobs.ledger.done_like(SPECIFICATION)] == made[::-1]

    def test_where_anything_is_no_job_writes(self, jobs: Jobs, tmp_path: Path) -> None:
        """Whosever it is; who asks for a job that there is already is given that one."""
        made = replace(SPECIFICATION, output=str(tmp_path / "out"))
        asked, output = Asked(made, SHARD_ROWS), jobs.output_of(made)
        taken = Remains(is_taken=True)
        with pytest.raises(SpecificationRefused, match="out is there and is not empty; allowed: a"):
            jobs.ledger.submit(asked, output, LIMITS, taken)
        job, _ = jobs.ledger.submit(asked, output, LIMITS)
        assert jobs.ledger.submit(asked, output, LIMITS, taken) == (job, True)

    def test_where_results_were_others_may_go(self, jobs: Jobs, tmp_path: Path) -> None:
        """Of the same specification or of another one."""
        job = jobs.submit(output=str(tmp_path / "out"))
        jobs.finish()
        for seed in (SPECIFICATION.seed, 8):
            made = replace(SPECIFICATION, output=job.output, seed=seed)
            assert jobs.ledger.done_at(job.output) == [job.id]
            asked, output = Asked(made, SHARD_ROWS, fresh=True), jobs.output_of(made)
            # That some of them are gone is not enough: the others would be read with what comes.
            for left in (Remains(), Remains(gone={job.id})):
                with pytest.raises(SpecificationRefused, match=f"has the results of job {job.id}"):
                    jobs.ledger.submit(asked, output, LIMITS, left)
            cleared = Remains(cleared={job.id})
            other, _ = jobs.ledger.submit(asked, output, LIMITS, cleared)
            assert other.output == job.output
            jobs.ledger.cancel(other.id, "not wanted")
            jobs.ledger.cleaned(other.id)

    @pytest.mark.parametrize("below", ["data", "data/deeper", ".."])
    def test_a_folder_within_anothers_is_refused(
        self, jobs: Jobs, tmp_path: Path, below: str
    ) -> None:
        """Its rows would be read with the other's."""
        jobs.submit(output=str(tmp_path / "a" / "out"))
        within = str((tmp_path / "a" / "out" / below).resolve())
        with pytest.raises(SpecificationRefused, match=r"is a folder of it or around it; wait"):
            jobs.submit(output=within, seed=8)
        jobs.submit(output=str(tmp_path / "a" / "out-of-others"), seed=8)

    def test_a_token_means_the_same_job_whatever_version_answers_by_now(self, jobs: Jobs) -> None:
        """For who has named none: asked for again after a lost answer, or night by night."""
        asked = Asked(SPECIFICATION, SHARD_ROWS, token="nightly", any_version=True)
        job, _ = self.submit(jobs, asked)
        newer = replace(SPECIFICATION, version=2, release="fedcba9876543210")
        assert self.submit(jobs, replace(asked, specification=newer)) == (job, True)
        for other in (replace(newer, rows=9), replace(newer, columns=("number",))):
            with pytest.raises(TokenTaken):
                self.submit(jobs, replace(asked, specification=other))
        with pytest.raises(TokenTaken):
            self.submit(jobs, replace(asked, specification=newer, any_version=False))

    def test_a_job_that_is_being_made_is_not_gone(self, jobs: Jobs) -> None:
        job = jobs.submit()
        assert jobs.ledger.done_like(SPECIFICATION) == []
        asked = Asked(SPECIFICATION, SHARD_ROWS)
        assert jobs.ledger.submit(asked, jobs.output_of(SPECIFICATION), LIMITS)[0].id == job.id

    def test_there_are_no_more_jobs_than_may_be(self, jobs: Jobs) -> None:
        jobs.submit()
        with pytest.raises(TooManyJobs, match="1 jobs have not ended, and max_jobs allows 1"):
            self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS, fresh=True), Limits(1, 2**40))
        jobs.finish()
        self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS, fresh=True), Limits(1, 2**40))

    def test_results_take_no_more_than_they_may(self, jobs: Jobs) -> None:
        jobs.submit()
        jobs.finish()
        with pytest.raises(TooManyJobs, match="job_disk_mib allows 100"):
            self.submit(jobs, Asked(SPECIFICATION, SHARD_ROWS, fresh=True), Limits(9, 100))

    def test_two_jobs_do_not_write_to_one_folder(self, jobs: Jobs, tmp_path: Path) -> None:
        out = str(tmp_path / "out")
        job = jobs.submit(output=out)
        with pytest.raises(SpecificationRefused, match=f"has the results of job {job.id}"):
            jobs.submit(output=out)

    def test_two_jobs_do_not_write_to_one_table_or_file(self, jobs: Jobs) -> None:
        def submit(seed: int) -> str:
            made = replace(SPECIFICATION, seed=seed, output="/data/rows.csv")
            asked = Asked(made, SHARD_ROWS)
            # The server's own folder is another one for each.
            return jobs.ledger.submit(asked, lambda name: (f"/own/{name}", True), LIMITS)[0].id

        first = submit(1)
        with pytest.raises(SpecificationRefused, match=f"/data/rows.csv has .* job {first}"):
            submit(2)
        # It would be taken for what the first one has left there.
        jobs.ledger.cancel(first, "not wanted")
        with pytest.raises(SpecificationRefused, match=f"/data/rows.csv has .* job {first}"):
            submit(2)
        jobs.ledger.cleaned(first)
        submit(2)

    def test_a_table_may_be_written_again_when_its_job_is_done(self, jobs: Jobs) -> None:
        """Whether it is empty by then, whoever writes there sees."""
        asked = Asked(replace(SPECIFICATION, output="sqlite:////data/a.db#rows"), SHARD_ROWS)
        own = jobs.output_of(SPECIFICATION)
        first = jobs.ledger.submit(asked, own, LIMITS)[0]
        while lease := jobs.ledger.claim("somebody", 30.0):
            jobs.ledger.commit(lease, "", 0)
        again = replace(asked, fresh=True)
        assert jobs.ledger.submit(again, own, LIMITS)[0].id != first.id
