"""Where results may go, and the stores that hold them."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from cascade_jobs.errors import JobFailed, OutputNotPermitted, SpecificationRefused
from cascade_jobs.job import DESCRIPTIONS, MANIFEST
from cascade_jobs.outputs import checked_output
from cascade_jobs.stores import LocalStore, RemoteStore, store_of

from tests.jobs.made_up import Jobs, contents


class TestCheckedOutput:
    """Callers over the network write nowhere that the operator has not named."""

    def test_nothing_is_the_servers_own_folder(self) -> None:
        assert checked_output("", may_be_anywhere=False, prefixes=[]) == ""

    @pytest.mark.parametrize("output", ["/etc", "/tmp/../etc", "s3://bucket/a", "file:///etc"])
    def test_over_the_network_all_else_is_refused(self, output: str) -> None:
        with pytest.raises(OutputNotPermitted, match="allowed: nothing, for the server's own"):
            checked_output(output, may_be_anywhere=False, prefixes=["/srv/data", "s3://other"])

    def test_below_a_prefix_is_allowed(self, tmp_path: Path) -> None:
        found = checked_output(f"{tmp_path}/a/./b", False, [str(tmp_path)])
        assert found == str(tmp_path.resolve() / "a" / "b")
        assert checked_output("s3://bucket/a/", False, ["s3://bucket"]) == "s3://bucket/a"

    def test_a_name_that_begins_alike_is_not_below(self, tmp_path: Path) -> None:
        for output, prefix in (
            (f"{tmp_path}/results-of-others", f"{tmp_path}/results"),
            ("s3://bucket-of-others/a", "s3://bucket"),
        ):
            with pytest.raises(OutputNotPermitted):
                checked_output(output, False, [prefix])

    def test_no_way_up_and_no_link_leads_out_of_a_prefix(self, tmp_path: Path) -> None:
        allowed, other = tmp_path / "allowed", tmp_path / "other"
        allowed.mkdir()
        other.mkdir()
        (allowed / "link").symlink_to(other)
        for output in (f"{allowed}/../other", f"{allowed}/link", f"{allowed}/link/deeper"):
            with pytest.raises(OutputNotPermitted):
                checked_output(output, False, [str(allowed)])

    @pytest.mark.parametrize(
        "output",
        ["results", "../up", "/a\0b", "/a\nb", "/" + "a" * 2000, "s3://a/../b", "s3://",
         "simplecache::s3://a/b", "zip://a::file:///etc", "://a", "s3://a//b", "s3://a/./b",
         "s3://a/%2E%2e/b", "s3://a/.%252e/b", "delta+s3://a/%2e%2e/b", "env:PATH", "env:PATH#t",
         "env:PATH#://"],
    )  # fmt: skip
    def test_what_is_no_output_is_refused_to_everybody(self, output: str) -> None:
        with pytest.raises(SpecificationRefused, match="allowed: "):
            checked_output(output, may_be_anywhere=True, prefixes=[])

    def test_nobody_learns_what_the_environment_holds(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HELD", "postgresql://ann:geheim@db/bank")
        said = []
        for name in ("HELD", "ABSENT"):
            for rest in ("#://", "#t", "#t://x", "://", ""):
                with pytest.raises(SpecificationRefused) as caught:
                    checked_output(f"env:{name}{rest}", True, ["env:HELD"])
                said.append(str(caught.value).replace(name, "NAME"))
        assert "geheim" not in "".join(said)
        assert "ann" not in "".join(said)
        # Nor whether there is one of that name.
        assert said[:5] == said[5:]

    @pytest.mark.parametrize("password", ["geheim", "geh/eim", "geh?eim", "geh#eim", "a@b/geheim"])
    def test_no_password_is_written_down_or_shown(self, password: str) -> None:
        for url in ("postgresql://ann:{}@db/bank#made", "s3://KEY:{}@bucket/a", "ftp://u:{}@h/a"):
            with pytest.raises(SpecificationRefused, match="was given with a password") as caught:
                checked_output(url.format(password), True, [])
            assert "eim" not in str(caught.value)
            assert "env:NAME" not in str(caught.value)

    def test_one_place_has_one_name(self, tmp_path: Path) -> None:
        out = tmp_path.resolve() / "out"
        (tmp_path / "link").symlink_to(tmp_path)
        local = [str(out), f"file://{out}", f"FILE://{tmp_path}/link/out/", f"local://{out}/./"]
        assert {checked_output(each, True, []) for each in local} == {str(out)}
        stores = ["s3://bucket/a", "S3://bucket/a/", "s3a://bucket/a", "s3n://bucket/a"]
        assert {checked_output(each, False, ["S3A://bucket/"]) for each in stores} == {stores[0]}
        delta = [f"delta://{out}", f"delta+file://{tmp_path}/link/out"]
        assert {checked_output(each, True, []) for each in delta} == {f"delta://{out}"}

    def test_no_link_leads_a_delta_table_out_of_a_prefix(self, tmp_path: Path) -> None:
        allowed, other = tmp_path / "allowed", tmp_path / "other"
        allowed.mkdir()
        other.mkdir()
        (allowed / "link").symlink_to(other)
        prefix = [f"delta://{allowed}"]
        assert checked_output(f"delta://{allowed}/rows", False, prefix).endswith("/allowed/rows")
        with pytest.raises(OutputNotPermitted):
            checked_output(f"delta://{allowed}/link/rows", False, prefix)

    def test_a_file_is_no_folder_and_a_folder_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        (tmp_path / "rows.parquet").mkdir()
        for output, found in (("mine.txt", "no folder"), ("rows.parquet", "a folder")):
            with pytest.raises(SpecificationRefused, match=f"is there and is {found}; allowed: "):
                checked_output(str(tmp_path / output), True, [])

    def test_what_is_there_may_be_what_the_same_job_has_made(self, tmp_path: Path) -> None:
        (tmp_path / "rows.parquet").write_text("rows")
        for output in (tmp_path, tmp_path / "rows.parquet"):
            assert checked_output(str(output), True, []) == str(output)

    def test_what_cannot_be_looked_at_is_refused(self, tmp_path: Path) -> None:
        for name in ("a" * 300, "a" * 300 + ".csv", "a" * 300 + "/b"):
            with pytest.raises(SpecificationRefused, match=r"File name too long; allowed: "):
                checked_output(f"{tmp_path}/{name}", False, [str(tmp_path)])


def remote(tmp_path: Path) -> RemoteStore:
    files = fsspec.filesystem("memory")
    return RemoteStore("memory://jobs", tmp_path / "spool", (files, f"/{tmp_path.name}"))


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStore | RemoteStore:
    return LocalStore(tmp_path / "out") if request.param == "local" else remote(tmp_path)


class TestStores:
    """A folder, and what fsspec knows by a URL."""

    @pytest.mark.parametrize("name", ["part", "data/part"])
    def test_a_file_is_there_once_it_is_published(
        self, store: LocalStore | RemoteStore, name: str
    ) -> None:
        made = store.temporary(name, 3)
        made.write_bytes(b"0123456789")
        assert not store.has(name)
        store.publish(made, name)
        assert store.has(name)
        assert not made.exists()
        assert store.read(name, 4, 3) == b"456"
        assert store.read(name, 8, 100) == b"89"

    def test_publishing_again_replaces(self, store: LocalStore | RemoteStore) -> None:
        for content in (b"one", b"two"):
            made = store.temporary("part", 1)
            made.write_bytes(content)
            store.publish(made, "part")
        assert store.read("part", 0, 10) == b"two"

    def test_files_are_removed_and_others_left(self, store: LocalStore | RemoteStore) -> None:
        for name in ("part", "other"):
            made = store.temporary(name, 1)
            made.write_bytes(b"content")
            store.publish(made, name)
        store.remove({"part", "never made"}, False)
        assert (store.has("part"), store.has("other")) == (False, True)

    def test_whether_there_is_anything(self, store: LocalStore | RemoteStore) -> None:
        """Also in folders of it; these alone are nothing."""
        assert store.is_empty()
        made = store.temporary("data/part", 1)
        made.write_bytes(b"content")
        store.publish(made, "data/part")
        assert not store.is_empty()
        store.remove({"data/part"}, False)
        assert store.is_empty()

    def test_what_cannot_be_looked_at_is_not_empty(self, tmp_path: Path) -> None:
        class Away:
            def invalidate_cache(self) -> None: ...

            def ls(self, path: str, detail: bool) -> list[str]:
                raise RuntimeError("no route to host")

        (tmp_path / "file").write_text("")
        for store in (
            RemoteStore("memory://away", tmp_path / "spool", (Away(), "away")),
            LocalStore(tmp_path / "file" / "below"),
        ):
            with pytest.raises(OSError, match=r"no route to host|Not a directory"):
                store.is_empty()

    def test_what_was_being_made_is_removed_too(self, tmp_path: Path) -> None:
        local = LocalStore(tmp_path / "out")
        local.temporary("data/part", 7).write_bytes(b"half")
        made = local.temporary("data/other", 8)
        made.write_bytes(b"whole")
        local.publish(made, "data/other")
        local.remove({"data/part", "data/other"}, True)
        assert not (tmp_path / "out").exists()

    def test_what_is_being_made_is_in_no_folder_of_the_output(self, tmp_path: Path) -> None:
        """Where readers would come upon it."""
        local = LocalStore(tmp_path / "out")
        assert local.temporary("data/part", 7).parent == tmp_path / "out"

    def test_a_folder_that_has_what_is_no_jobs_is_left(self, tmp_path: Path) -> None:
        local = LocalStore(tmp_path / "out")
        made = local.temporary("data/part", 7)
        made.write_bytes(b"whole")
        local.publish(made, "data/part")
        (tmp_path / "out/data/mine.txt").write_text("mine")
        local.remove({"data/part"}, False)
        assert [each.name for each in (tmp_path / "out/data").iterdir()] == ["mine.txt"]

    def test_a_url_that_nobody_knows_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(JobFailed, match="nowhere://a cannot be written: "):
            store_of("nowhere://a", tmp_path)


def test_a_job_goes_to_a_url_whole(jobs: Jobs) -> None:
    job = jobs.submit(1500, output="memory://bucket/whole")
    jobs.finish()
    files = fsspec.filesystem("memory")
    assert sorted(each.removeprefix("/bucket/whole/") for each in files.find("/bucket/whole")) == [
        *DESCRIPTIONS[:1], MANIFEST, *DESCRIPTIONS[1:],
        "data/part-00000.parquet", "data/part-00001.parquet",
    ]  # fmt: skip
    local = jobs.submit(1500)
    jobs.finish()
    for name, content in contents(local.output).items():
        if name.startswith("data/"):  # others say where the rows go
            assert files.cat_file(f"/bucket/whole/{name}") == content
    assert jobs.ledger.parts(job.id) == jobs.ledger.parts(local.id)
