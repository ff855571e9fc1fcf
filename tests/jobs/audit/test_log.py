"""The audit log: what is found of whatever was done to it, and what a crash leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cascade_jobs.audit.commands import audit as command
from cascade_jobs.audit.log import CHECKPOINTS, FOLDER, LOG, AuditLog, Checkpoint
from cascade_jobs.audit.merkle import leaf_hash, root_of
from cascade_jobs.audit.verifying import Findings, checkpoint_of, content_of, verify
from cascade_jobs.errors import AuditRefused
from click.testing import CliRunner

ENTRIES = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a log with some entries."""
    made = tmp_path / FOLDER
    log = AuditLog(made, lambda: 1e6)
    for number in range(ENTRIES):
        assert log.append({"event": "may run", "job": f"job{number}"}) == number
    return made


def found(folder: Path, kept: Checkpoint | None = None) -> Findings:
    return verify(content_of(folder), kept)


def lines(folder: Path, change: Callable[[list[bytes]], list[bytes]], name: str = LOG) -> None:
    """Have a file have other lines."""
    path = folder / name
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def rewrite(folder: Path) -> None:
    """Make checkpoints anew that hold for the log as it is."""
    entries = content_of(folder).entries
    leaves = [leaf_hash(each) for each in entries]
    made = (Checkpoint(size, root_of(leaves[:size]).hex()) for size in range(1, len(leaves) + 1))
    (folder / CHECKPOINTS).write_bytes(b"".join(each.to_line() for each in made))


def changed(text: list[bytes], place: int) -> list[bytes]:
    return [*text[:place], text[place].replace(b"may run", b"may not"), *text[place + 1 :]]


class TestSound:
    """Nothing was changed."""

    def test_it_is_found_so(self, folder: Path) -> None:
        findings = found(folder)
        assert (findings.size, findings.faults, findings.remarks) == (ENTRIES, (), ())
        assert findings.root == root_of(map(leaf_hash, content_of(folder).entries)).hex()

    def test_each_entry_stands_on_a_line_with_its_index(self, folder: Path) -> None:
        entries = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
        assert [each["index"] for each in entries] == list(range(ENTRIES))
        assert {each["time"] for each in entries} == {1e6}

    @pytest.mark.parametrize("size", range(ENTRIES + 1))
    def test_any_checkpoint_of_before_holds(self, folder: Path, size: int) -> None:
        leaves = [leaf_hash(each) for each in content_of(folder).entries]
        assert found(folder, Checkpoint(size, root_of(leaves[:size]).hex())).is_sound

    def test_a_log_goes_on_where_another_left_it(self, folder: Path) -> None:
        one, two = AuditLog(folder), AuditLog(folder)
        assert [log.append({}) for log in (one, two, two, one)] == [6, 7, 8, 9]
        assert found(folder).is_sound


class TestChanged:
    """Somebody who may write in the folder has done so."""

    @pytest.mark.parametrize("place", range(ENTRIES))
    def test_an_entry(self, folder: Path, place: int) -> None:
        lines(folder, lambda text: changed(text, place))
        (fault,) = found(folder).faults
        assert fault.startswith(f"entry {place} is not what was written")

    @pytest.mark.parametrize("place", range(ENTRIES - 1))
    def test_a_missing_entry(self, folder: Path, place: int) -> None:
        lines(folder, lambda text: text[:place] + text[place + 1 :])
        assert found(folder).faults == (f"entry {place} is missing: entry {place + 1} comes next",)

    @pytest.mark.parametrize("left", range(ENTRIES))
    def test_entries_that_were_cut_off(self, folder: Path, left: int) -> None:
        lines(folder, lambda text: text[:left])
        which = f"entry {left} is" if left == ENTRIES - 1 else f"entries {left} to 5 are"
        assert found(folder).faults == (f"{which} cut off: the last checkpoint is of 6",)

    def test_entries_that_came_twice_or_in_another_order(self, folder: Path) -> None:
        before = (folder / LOG).read_bytes()
        lines(folder, lambda text: [*text[:2], text[1], *text[2:]])
        assert "entry 1 stands where entry 2 was written" in found(folder).faults[0]
        (folder / LOG).write_bytes(before)
        lines(folder, lambda text: [text[1], text[0], *text[2:]])
        assert not found(folder).is_sound

    def test_entries_that_were_added(self, folder: Path) -> None:
        with (folder / LOG).open("ab") as file:
            file.write(b'{"index":6}\n{"index":7}\n')
        assert found(folder).faults == (
            "entries 6 to 7 are not covered by a checkpoint: they were added",
        )

    @pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"\n", b"[1]\n", b'{"index":"x"}\n'])
    def test_an_entry_that_is_none(self, folder: Path, junk: bytes) -> None:
        lines(folder, lambda text: [*text[:2], junk, *text[3:]])
        assert not found(folder).is_sound

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda _: [], "has none: nothing says what the entries were"),
            (lambda text: [b"{}\n", *text[1:]], "line 1 of audit.checkpoints is no checkpoint"),
            (lambda text: [*text, text[0]], "a log only grows"),
            (
                lambda text: [*text[:3], text[3].replace(b'"root":"', b'"root":"0'), *text[4:]],
                "line 4 of audit.checkpoints is no checkpoint",
            ),
        ],
    )
    def test_checkpoints(
        self, folder: Path, change: Callable[[list[bytes]], list[bytes]], said: str
    ) -> None:
        lines(folder, change, CHECKPOINTS)
        assert any(said in fault for fault in found(folder).faults)

    @pytest.mark.parametrize("change", [(b'"root":"', b'"root":"0'), (b'"size":', b'"size":9')])
    @pytest.mark.parametrize("place", range(ENTRIES - 1))
    def test_a_checkpoint_is_not_taken_for_an_entry_where_a_later_one_holds(
        self, folder: Path, change: tuple[bytes, bytes], place: int
    ) -> None:
        def edited(text: list[bytes]) -> list[bytes]:
            line = text[place].replace(*change)
            root = json.loads(line)["root"]
            line = line.replace(root.encode(), root[:64].encode())
            return [*text[:place], line, *text[place + 1 :]]

        lines(folder, edited, CHECKPOINTS)
        size = Checkpoint.of_line(content_of(folder).checkpoints[place]).size
        faults = found(folder).faults
        assert faults[-1] == (
            f"the checkpoint of {size} is not what was written: that of 6 behind it holds"
        )
        assert not any(fault.startswith(("entry", "entries")) for fault in faults)

    @pytest.mark.parametrize("place", range(ENTRIES))
    def test_nor_an_entry_for_a_checkpoint_where_an_earlier_one_was_repeated(
        self, folder: Path, place: int
    ) -> None:
        lines(folder, lambda text: changed(text, place))
        lines(folder, lambda text: [*text, text[0]], CHECKPOINTS)
        faults = found(folder).faults
        assert "a log only grows" in faults[0]
        assert faults[1].startswith(f"entry {place} is not what was written")

    def test_a_log_that_is_gone(self, folder: Path) -> None:
        (folder / LOG).unlink()
        assert found(folder).faults == (
            "entries 0 to 5 are gone with audit.log: the last checkpoint is of 6",
        )

    def test_checkpoints_that_are_gone(self, folder: Path) -> None:
        (folder / CHECKPOINTS).unlink()
        assert "has none" in found(folder).faults[0]

    def test_both_written_anew_is_found_by_a_checkpoint_kept_elsewhere(self, folder: Path) -> None:
        kept = found(folder).checkpoint
        lines(folder, lambda text: changed(text, 2))
        rewrite(folder)
        assert found(folder).is_sound
        (fault,) = found(folder, kept).faults
        assert fault.startswith("the log does not begin with the 6 entries of the checkpoint kept")

    def test_both_cut_off_is_found_by_a_checkpoint_kept_elsewhere(self, folder: Path) -> None:
        kept = found(folder).checkpoint
        for name in (LOG, CHECKPOINTS):
            lines(folder, lambda text: text[:-2], name)
        assert found(folder).is_sound
        assert found(folder, kept).faults == (
            "entries 4 to 5 are cut off: the checkpoint kept elsewhere is of 6",
        )

    @pytest.mark.parametrize("left", [0, 3])
    def test_a_log_that_was_changed_takes_no_more_entries(self, folder: Path, left: int) -> None:
        lines(folder, lambda text: text[:left])
        with pytest.raises(AuditRefused, match=f"it has {left} entries, and had 6"):
            AuditLog(folder).append({})

    def test_nor_does_one_with_an_entry_changed(self, folder: Path) -> None:
        lines(folder, lambda text: changed(text, 1))
        before = (folder / LOG).read_bytes()
        with pytest.raises(AuditRefused, match="are not those of its last checkpoint"):
            AuditLog(folder).append({})
        assert (folder / LOG).read_bytes() == before

    def test_nor_one_without_its_checkpoints(self, folder: Path) -> None:
        (folder / CHECKPOINTS).unlink()
        with pytest.raises(AuditRefused, match="no checkpoint of them is there"):
            AuditLog(folder).append({})


class TestCrashes:
    """Somebody is killed while writing."""

    @pytest.mark.parametrize("torn", [b"{", b'{"index":6,"event":"may run"}'])
    def test_half_an_entry_is_no_fault_and_its_place_is_taken(
        self, folder: Path, torn: bytes
    ) -> None:
        with (folder / LOG).open("ab") as file:
            file.write(torn)
        findings = found(folder)
        assert findings.is_sound
        assert findings.remarks[0].startswith(f"{len(torn)} bytes of an entry stand at the end")
        assert AuditLog(folder).append({}) == ENTRIES
        assert found(folder).remarks == ()

    def test_an_entry_without_its_checkpoint_is_no_fault(self, folder: Path) -> None:
        lines(folder, lambda text: text[:-1], CHECKPOINTS)
        findings = found(folder)
        assert (findings.is_sound, findings.remarks) == (
            True, ("entry 5 has no checkpoint yet; the next entry's covers it",),
        )  # fmt: skip
        assert AuditLog(folder).append({}) == ENTRIES
        assert found(folder).remarks == ()

    def test_nor_is_the_first(self, tmp_path: Path) -> None:
        AuditLog(tmp_path).append({})
        (tmp_path / CHECKPOINTS).unlink()
        assert AuditLog(tmp_path).append({}) == 1
        assert found(tmp_path).is_sound

    def test_half_a_checkpoint_is_no_fault(self, folder: Path) -> None:
        path = folder / CHECKPOINTS
        path.write_bytes(path.read_bytes()[:-20])
        assert found(folder).is_sound
        AuditLog(folder).append({})
        assert found(folder).remarks == ()

    def test_an_entry_that_cannot_be_written_is_none(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = AuditLog(folder)
        before = found(folder)

        def fails(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fails)
            with pytest.raises(OSError, match="No space left"):
                log.append({})
        assert found(folder).faults == before.faults
        log.append({})
        assert found(folder).is_sound


WRITE = """
import os, sys
from pathlib import Path
from cascade_jobs.audit.log import AuditLog
log = AuditLog(Path(sys.argv[1]))
for number in range(15):
    log.append({"by": os.getpid(), "number": number})
"""


def test_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    made = [subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)]) for _ in range(3)]
    assert [each.wait() for each in made] == [0, 0, 0]
    findings = found(tmp_path)
    assert (findings.size, findings.faults, findings.remarks) == (45, (), ())
    entries = [json.loads(line) for line in content_of(tmp_path).entries]
    for by in {each["by"] for each in entries}:
        assert [each["number"] for each in entries if each["by"] == by] == list(range(15))


class TestCommands:
    """`cascade audit` as it is typed."""

    def run(self, folder: Path, *arguments: str, code: int = 0) -> str:
        state = ("--state-dir", str(folder.parent))
        result = CliRunner().invoke(command, [arguments[0], *state, *arguments[1:]])
        assert result.exit_code == code, result.output
        return result.output

    def test_verify(self, folder: Path) -> None:
        said = self.run(folder, "verify")
        assert said == f"6 entries are what was written; root {found(folder).root}\n"
        assert json.loads(self.run(folder, "verify", "--json"))["sound"] is True

    def test_verify_exits_with_1_where_something_was_changed(self, folder: Path) -> None:
        lines(folder, lambda text: changed(text, 3))
        assert "\n  entry 3 is not what was written" in self.run(folder, "verify", code=1)
        said = json.loads(self.run(folder, "verify", "--json", code=1))
        assert (said["sound"], len(said["faults"])) == (False, 1)
        self.run(folder, "checkpoint", code=1)

    def test_a_checkpoint_is_kept_and_held_against(self, folder: Path, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        kept.write_text(self.run(folder, "checkpoint"))
        assert checkpoint_of(kept).root == found(folder).root
        AuditLog(folder).append({})
        self.run(folder, "verify", "--checkpoint", str(kept))
        for name in (LOG, CHECKPOINTS):
            lines(folder, lambda text: text[:4], name)
        said = self.run(folder, "verify", "--checkpoint", str(kept), code=1)
        assert "entries 4 to 5 are cut off" in said

    @pytest.mark.parametrize("content", ["", "x", '{"size": 1}', '{"size": -1, "root": "00"}'])
    def test_what_is_no_checkpoint_is_said(
        self, folder: Path, tmp_path: Path, content: str
    ) -> None:
        kept = tmp_path / "kept"
        kept.write_text(content)
        said = self.run(folder, "verify", "--checkpoint", str(kept), code=1)
        assert "has no checkpoint in its last line" in said

    def test_list(self, folder: Path) -> None:
        said = self.run(folder, "list", "--limit", "2").splitlines()
        assert said == [f"{n} 1970-01-12 13:46:40 may run job{n}" for n in (4, 5)]
        (one,) = self.run(folder, "list", "--job", "job2", "--json").splitlines()
        assert json.loads(one)["index"] == 2

    def test_a_log_that_is_gone_is_not_taken_for_one_that_never_was(self, folder: Path) -> None:
        (folder / LOG).unlink()
        said = self.run(folder, "verify", code=1)
        assert "entries 0 to 5 are gone with audit.log" in said
        self.run(folder, "checkpoint", code=1)
        assert "audit.log is gone; `cascade audit verify`" in self.run(folder, "list", code=1)

    def test_a_folder_without_a_log_says_how_to_have_one(self, tmp_path: Path) -> None:
        said = self.run(tmp_path / FOLDER, "verify", code=1)
        assert "cascade serve --policy FILE" in said
