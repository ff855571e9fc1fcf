"""Verification of an audit log: finds entries that were changed, are missing, or were cut off.

Because each entry has a checkpoint, the first root that does not match identifies the changed
entry, unless a later root matches: in that case the checkpoint was changed. Anyone who can write
both files can rewrite both; a checkpoint that was kept elsewhere reveals that too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from cascade_tables.errors import shown

from cascade_jobs.audit.log import CHECKPOINTS, LOG, Checkpoint, is_place
from cascade_jobs.audit.merkle import Frontier, consistency_proof, is_consistent, leaf_hash
from cascade_jobs.errors import AuditRefused


@dataclass(frozen=True)
class Findings:
    """Result of a verification.

    Attributes:
        size: whole entries of the log.
        root: of the tree over them, in hexadecimal digits.
        faults: tampering, in order, each a sentence; empty: none was found.
        remarks: harmless traces of a crash.
    """

    size: int
    root: str
    faults: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing was changed, as far as the checkpoints show."""
        return not self.faults

    @property
    def checkpoint(self) -> Checkpoint:
        """Checkpoint of the current log, to be kept elsewhere."""
        return Checkpoint(self.size, self.root)


@dataclass(frozen=True)
class Content:
    """Content of a log's files.

    Attributes:
        entries: whole lines, without their ends.
        checkpoints: likewise.
        torn: bytes after the last whole entry.
        is_gone: whether there are checkpoints, but no file of their entries.
    """

    entries: tuple[bytes, ...]
    checkpoints: tuple[bytes, ...]
    torn: int = 0
    is_gone: bool = False


def content_of(folder: Path) -> Content:
    """Read a log.

    Raises:
        AuditRefused: there is none, or it cannot be read.
    """
    log, checkpoints = _lines(folder / LOG), _lines(folder / CHECKPOINTS)
    covering = () if checkpoints is None else checkpoints[0]
    if log is not None:
        return Content(log[0], covering, log[1])
    if covering:
        return Content((), covering, is_gone=True)
    raise AuditRefused(
        f"there is no audit log in {folder}; `cascade serve --policy FILE --state-dir FOLDER` "
        "keeps one below FOLDER, from the first job on"
    )


def _lines(path: Path) -> tuple[tuple[bytes, ...], int] | None:
    """Return the whole lines of a file, and the number of bytes after them; None: it does not
    exist.
    """
    try:
        *whole, torn = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise AuditRefused(f"{path} cannot be read: {exc.strerror}") from exc
    return tuple(whole), len(torn)


def read_entries(content: Content) -> Iterator[dict[str, Any]]:
    """Yield the entries' contents; one that is no JSON yields a note."""
    for number, line in enumerate(content.entries):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        yield found if isinstance(found, dict) else {"index": number, "event": "unreadable"}


def checkpoint_of(path: Path) -> Checkpoint:
    """Read a checkpoint that was kept elsewhere: the last line of a file.

    Raises:
        AuditRefused: the file has none.
    """
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        return Checkpoint.of_line(lines[-1])
    except OSError as exc:
        raise AuditRefused(f"{path} cannot be read: {exc.strerror}") from exc
    except (ValueError, IndexError) as exc:
        raise AuditRefused(
            f"{path} has no checkpoint in its last line ({exc}); `cascade audit checkpoint` "
            "prints one"
        ) from exc


def verify(content: Content, kept: Checkpoint | None = None) -> Findings:
    """Compare a log with its checkpoints, and with one that was kept elsewhere.

    Args:
        content: of the log.
        kept: the other one; None: there is none.
    """
    faults: list[str] = []
    leaves = [leaf_hash(each) for each in content.entries]
    roots = _roots(leaves)
    checkpoints = _checkpoints(content, faults)
    # A checkpoint that a later one proves changed says nothing about the entries.
    checkpoints, before = _believed(roots, checkpoints)
    faults += before
    covered = max((each.size for each in checkpoints), default=0)
    size = len(leaves)
    places = list(_places(content))
    faults += places
    # A missing entry changes all later roots, which adds no information.
    first = None if places else _first_changed(roots, checkpoints)
    if first is not None:
        faults.append(first)
    end = _end(content)
    if covered > end:
        how = f"gone with {LOG}" if content.is_gone else "cut off"
        faults.append(f"{_entries(end, covered)} {how}: the last checkpoint is of {covered}")
    if kept is not None:
        faults += _against(kept, end, leaves, roots)
    remarks = []
    if content.torn:
        remarks.append(
            f"{content.torn:,} bytes of an entry stand at the end that somebody was killed while "
            "writing; the next entry takes their place"
        )
    # A process may be killed between an entry and its checkpoint, but no process continues without
    # one.
    if size - covered > 1:
        faults.append(f"{_entries(covered, size)} not covered by a checkpoint: they were added")
    elif size > covered:
        remarks.append(f"entry {covered} has no checkpoint yet; the next entry's covers it")
    return Findings(size, roots[size], tuple(faults), tuple(remarks))


def _roots(leaves: Sequence[bytes]) -> list[str]:
    """Return the roots of the trees over zero, one, two and more of the leaves."""
    tree = Frontier()
    out = [tree.root.hex()]
    for leaf in leaves:
        tree.add(leaf)
        out.append(tree.root.hex())
    return out


def _checkpoints(content: Content, faults: list[str]) -> list[Checkpoint]:
    out: list[Checkpoint] = []
    for number, line in enumerate(content.checkpoints):
        try:
            found = Checkpoint.of_line(line)
        except ValueError as exc:
            faults.append(f"line {number + 1} of {CHECKPOINTS} is no checkpoint: {exc}")
            continue
        if out and found.size <= out[-1].size:
            faults.append(
                f"line {number + 1} of {CHECKPOINTS} is of {found.size} entries, and the one "
                f"before of {out[-1].size}: a log only grows"
            )
        out.append(found)
    if content.entries and not out:
        faults.append(f"{CHECKPOINTS} has none: nothing says what the entries were")
    return out


def _places(content: Content) -> Iterator[str]:
    """Describe entries at a wrong index: an earlier one is missing, or was added."""
    expected = 0
    for number, entry in enumerate(read_entries(content)):
        index = entry.get("index")
        if entry.get("event") == "unreadable":
            yield f"entry {number} is not what was written: it is no JSON"
        elif index != expected:
            if is_place(index) and index > expected:
                yield f"{_entries(expected, index)} missing: entry {index} comes next"
            else:
                yield f"entry {shown(index)} stands where entry {expected} was written"
        expected = index + 1 if is_place(index) else expected + 1


def _believed(
    roots: Sequence[str], checkpoints: Sequence[Checkpoint]
) -> tuple[list[Checkpoint], list[str]]:
    """Return the checkpoints that no later one proves changed, and sentences about the others.

    A matching checkpoint of more entries than all matching ones before it proves the checkpoints in
    between changed: their entries are intact.
    """

    def holds(each: Checkpoint) -> bool:
        return each.size < len(roots) and roots[each.size] == each.root

    held = [each.size if holds(each) else 0 for each in checkpoints]
    # The largest matching size from each of them on.
    largest = list(accumulate(reversed(held), max))[::-1]
    believed, said, before = [], [], 0
    for each, later in zip(checkpoints, largest, strict=True):
        if holds(each):
            before = max(before, each.size)
        elif later > before:
            said.append(
                f"the checkpoint of {each.size} is not what was written: that of {later} behind it "
                "holds"
            )
            continue
        believed.append(each)
    return believed, said


def _first_changed(roots: Sequence[str], checkpoints: Sequence[Checkpoint]) -> str | None:
    before = 0
    for each in checkpoints:
        if each.size < len(roots) and roots[each.size] != each.root:
            one = each.size - before == 1
            which = f"entry {before}" if one else f"one of entries {before} to {each.size - 1}"
            return f"{which} is not what was written: the checkpoint of {each.size} does not hold"
        if each.size < len(roots):
            before = each.size
    return None


def _end(content: Content) -> int:
    """Return the index that the next entry would have."""
    last = next(iter(read_entries(Content(content.entries[-1:], ()))), {}).get("index")
    return last + 1 if is_place(last) else len(content.entries)


def _against(
    kept: Checkpoint, end: int, leaves: Sequence[bytes], roots: Sequence[str]
) -> Iterator[str]:
    """Check by a consistency proof whether the log begins with the one of the checkpoint."""
    if kept.size > end:
        yield (
            f"{_entries(end, kept.size)} cut off: the checkpoint kept elsewhere is of {kept.size}"
        )
        return
    if kept.size == 0:
        return
    before, after = bytes.fromhex(kept.root), bytes.fromhex(roots[-1])
    if kept.size > len(leaves) or not is_consistent(
        kept.size, len(leaves), before, after, consistency_proof(leaves, kept.size)
    ):
        yield (
            f"the log does not begin with the {kept.size} entries of the checkpoint kept "
            "elsewhere: it was written anew"
        )


def _entries(first: int, end: int) -> str:
    """Name the entries from `first` to before `end`, with a verb in the right number."""
    if end - first == 1:
        return f"entry {first} is"
    return f"entries {first} to {end - 1} are"
