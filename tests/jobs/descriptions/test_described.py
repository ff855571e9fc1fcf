"""What is said of rows beside them: valid by the validators of those who read it, and true."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cascade_jobs.descriptions.describe import describe
from cascade_jobs.facts import ColumnFacts, ReleaseFacts, Terms
from cascade_jobs.job import CROISSANT, DESCRIPTIONS, MANIFEST, PROVENANCE, Job, Part
from cascade_jobs.specification import Balance
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.jobs.descriptions.standard import SCHEMA, faults
from tests.jobs.made_up import FACTS, Clock, Jobs, contents, made_up

TERMS = Terms(
    publisher="Example Bank",
    publisher_url="https://bank.example",
    license="https://spdx.org/licenses/CC-BY-4.0.html",
    uses=("research", "evaluation"),
    residency=("eu", "ch"),
    sensitivity="confidential",
)
# What a job may have beside a release and rows: a bound of privacy, terms, and conditions.
JOBS: dict[str, tuple[ReleaseFacts, dict[str, Any]]] = {
    "plain": (FACTS, {}),
    "private": (replace(FACTS, epsilon=2.5, terms=TERMS), {"tier": "teacher"}),
    "given": (FACTS, {"given": {"number": 3}}),
    "balanced": (FACTS, {"balance": Balance("label", (("one", 1500), (None, 1000)))}),
    "completed": (FACTS, {"conditions": "ab" * 32, "draws": 5}),
    "undated": (replace(FACTS, created="long ago", software=""), {}),
}


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest, jobs: Jobs) -> Job:
    """One that is done."""
    facts, more = JOBS[request.param]
    made = jobs.submit(facts=facts, **more)
    jobs.finish()
    return jobs.ledger.job(made.id)


def read(job: Job, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(job.output) / name).read_text())
    return content


def properties(job: Job) -> dict[str, Any]:
    """What Croissant's activity says of the job."""
    listed = read(job, CROISSANT)["prov:wasGeneratedBy"]["additionalProperty"]
    return {
        each["name"]: each["value"]["@value"] if isinstance(each["value"], dict) else each["value"]
        for each in listed
    }


# rdflib's reader of JSON-LD uses a class of its own that it has given up.
@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
class TestCroissant:
    """As `mlcroissant`, MLCommons' own validator, reads it."""

    def test_it_is_valid_without_a_remark(self, job: Job, caplog: pytest.LogCaptureFixture) -> None:
        mlcroissant = pytest.importorskip("mlcroissant")
        with caplog.at_level(logging.WARNING):
            found = mlcroissant.Dataset(jsonld=Path(job.output) / CROISSANT)
        assert found.metadata.ctx.issues.report() == ""
        assert caplog.text == ""

    def test_it_loads_all_rows_in_their_order(self, job: Job) -> None:
        mlcroissant = pytest.importorskip("mlcroissant")
        found = mlcroissant.Dataset(jsonld=Path(job.output) / CROISSANT)
        rows = [
            (row["rows/number"], None if pd.isna(row["rows/label"]) else row["rows/label"].decode())
            for row in found.records(record_set="rows")
        ]
        expected = made_up(job.specification.seed, 0, 2500).to_rows()
        assert rows == [(each["number"], each["label"]) for each in expected]

    def test_names_of_columns_may_be_anything(self, jobs: Jobs, tmp_path: Path) -> None:
        mlcroissant = pytest.importorskip("mlcroissant")
        names = ["a b", "ä/ö", "100%", "#", "rows/x", '"', "a?b=c"]
        columns = tuple(ColumnFacts(name, "continuous", False) for name in names)
        job = jobs.submit(facts=replace(FACTS, columns=columns))
        path = tmp_path / CROISSANT
        part = Part("data/part-00000.parquet", 0, 2500, 1, "ab" * 32)
        path.write_bytes(describe(job, [part])[CROISSANT])
        found = mlcroissant.Dataset(jsonld=path)
        assert found.metadata.ctx.issues.report() == ""
        fields = found.metadata.record_sets[0].fields
        assert [each.name for each in fields] == names


class TestProvenance:
    """As the Data Provenance Standards ask for it."""

    def test_it_is_valid_by_the_published_schema(self, job: Job) -> None:
        assert faults(read(job, PROVENANCE)) == []

    def test_the_schema_would_say_what_is_wrong(self, job: Job) -> None:
        found = read(job, PROVENANCE)
        found["use"]["intended-purpose"][0]["code"] = "whatever"
        found["source"]["location"] = "not a uri"
        del found["set"]["label"]
        assert len(faults(found)) >= 3

    def test_the_schema_is_as_it_was_published(self) -> None:
        """OASIS allows copies, and no changes."""
        folder = Path(__file__).parent / "oasis"
        digest = hashlib.sha256((folder / "data-provenance.json").read_bytes()).hexdigest()
        said = (folder / "README.md").read_text()
        assert digest in said
        assert "Copyright &copy; OASIS Open" in said

    def test_it_names_the_schema_that_it_is_valid_by(self, job: Job) -> None:
        assert read(job, PROVENANCE)["$schema"] == SCHEMA["$id"]

    def test_who_has_said_nothing_is_not_spoken_for(self, jobs: Jobs) -> None:
        job = jobs.submit()
        jobs.finish()
        found = read(job, PROVENANCE)
        assert found["source"]["issuer"] == [{"legal-name": "not stated"}]
        assert found["provenance"]["origin-geography"] == [{"country": "not stated"}]
        assert "license" not in found["use"]


class TestWhatIsSaid:
    """Of the job, in both."""

    def test_release_seed_tier_and_budget(self, job: Job) -> None:
        found, made = properties(job), job.specification
        assert job.facts is not None
        assert (found["release"], found["seed"]) == (made.release, made.seed)
        assert (found["tierMix"], found["epsilon"]) == ({made.tier: 1.0}, job.facts.epsilon)
        assert found["releaseFiles"] == job.facts.files
        release, specification = read(job, PROVENANCE)["source"]["id"]["custom-ids"]
        assert release["value"] == made.release
        said = dict(each.split("=", 1) for each in specification["parameter-list"])
        assert {name: json.loads(value) for name, value in said.items()} == found

    def test_a_release_without_a_bound_says_so(self, job: Job) -> None:
        (reduced,) = read(job, PROVENANCE)["use"]["data-risk-reducing"]
        said = read(job, CROISSANT)["rai:personalSensitiveInformation"]
        assert job.facts is not None
        if job.facts.epsilon is None:
            assert reduced["technology"] == "other"
            assert "No bound of privacy is known" in said
        else:
            assert reduced["technology"] == "differential-privacy"
            assert reduced["parameters"] == [{"name": "epsilon", "value": "2.5"}]
            assert "epsilon 2.5" in said

    def test_what_rows_may_be_used_for_is_the_policys(self, jobs: Jobs) -> None:
        job = jobs.submit(facts=replace(FACTS, terms=TERMS))
        jobs.finish()
        use = read(job, PROVENANCE)["use"]
        assert [each["code"] for each in use["intended-purpose"]] == ["research", "evaluation"]
        assert use["license"] == [TERMS.license]
        assert use["storage-allowed"] == [{"country": "eu"}, {"country": "ch"}]
        found = read(job, CROISSANT)
        assert [each["termCode"] for each in found["usageInfo"]] == ["research", "evaluation"]
        assert (found["license"], found["publisher"]["name"]) == (TERMS.license, "Example Bank")

    def test_checksums_are_those_of_the_files(self, job: Job) -> None:
        files = {
            name: hashlib.sha256(data).hexdigest() for name, data in contents(job.output).items()
        }
        parts = {name: sha256 for name, sha256 in files.items() if name.startswith("data/")}
        said = {
            each["@id"]: each["sha256"]
            for each in read(job, CROISSANT)["distribution"]
            if "sha256" in each
        }
        assert said == parts
        hashes = read(job, PROVENANCE)["source"]["id"]["hashes"]
        assert {each["path"]: each["tree-hashes"][0]["value"] for each in hashes} == parts
        described = {each["name"]: each["sha256"] for each in read(job, MANIFEST)["descriptions"]}
        assert described == {name: files[name] for name in DESCRIPTIONS}

    def test_the_ledger_has_them_before_the_manifest(self, job: Job, jobs: Jobs) -> None:
        found = jobs.ledger.files(job.id)
        names = [part.name for part in found]
        assert names == [*(shard.name for shard in job.plan), *DESCRIPTIONS, MANIFEST]
        assert job.bytes == sum(part.bytes for part in found)
        for part in found:
            data = (Path(job.output) / part.name).read_bytes()
            assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())

    def test_they_are_the_same_bytes_whenever_the_job_is_made(self, tmp_path: Path) -> None:
        made = []
        for place, now in (("one", 1e6), ("two", 1.7e9)):
            jobs = Jobs(tmp_path / place, Clock(now))
            job = jobs.submit()
            jobs.finish()
            jobs.close()
            made.append(contents(job.output))
        assert made[0] == made[1]

    def test_a_job_of_a_server_that_kept_no_facts_ends_without_them(self, jobs: Jobs) -> None:
        job = jobs.submit(facts=None)
        jobs.finish()
        assert not set(DESCRIPTIONS) & set(contents(job.output))
        assert read(job, MANIFEST)["descriptions"] == []

    def test_they_are_removed_with_the_job(self, jobs: Jobs) -> None:
        job = jobs.submit()
        executor = jobs.executor(forget_seconds=100)
        jobs.finish(executor)
        jobs.clock.now += 100
        jobs.finish(executor)
        assert not Path(job.output).exists()


@settings(max_examples=50)
@given(
    st.builds(
        ReleaseFacts,
        created=st.text(),
        epsilon=st.none() | st.floats(0, 1e300),
        files=st.dictionaries(st.text(), st.text()),
        columns=st.lists(st.builds(ColumnFacts, st.text(), st.text(), st.booleans())).map(tuple),
        software=st.text(),
        terms=st.builds(Terms),
    )
)
def test_facts_come_back_as_they_were(facts: ReleaseFacts) -> None:
    assert ReleaseFacts.from_json(facts.to_json()) == facts
