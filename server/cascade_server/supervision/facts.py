"""What is known of a server's processes, as values: told by the supervisor, shown by others.

The supervisor alone knows who died, how, and whether somebody is started in its place. It writes it
down where other processes see it (`Books.told`), whole, each time that it changes: whoever shows it
asks nobody, so that a process which is stuck keeps the supervisor from nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from cascade_server.supervision.crews import Crew, Member, Phase

# States of releases that can be left out where there is no room for all, the first before others.
SPARED = ("available", "missing", "refused")


class ProcessState(StrEnum):
    """How far a process is."""

    STARTING = "starting"  # it loads
    UP = "up"
    AWAY = "away"  # it has died, and is started again
    RESTING = "resting"  # there is nothing for it to do
    LEAVING = "leaving"  # others have taken over


@dataclass(frozen=True)
class ProcessFacts:
    """One member of a crew.

    Attributes:
        name: its role, as logs say it: "worker 0".
        state: how far it is.
        pid: of its process; 0: it has none now.
        began: of its process, monotonic seconds; of one that is away, the last one's.
        deaths: processes in its place that ended without having been asked to.
        died: when the last of them did, monotonic seconds; None: none did.
        how: how that one ended, and what it said last of why: "was killed by SIGKILL".
    """

    name: str
    state: ProcessState
    pid: int
    began: float
    deaths: int = 0
    died: float | None = None
    how: str = ""


def facts_of(crews: Iterable[Crew]) -> tuple[ProcessFacts, ...]:
    """Of all members of some crews, those who only fetch releases left out."""
    return tuple(
        ProcessFacts(
            name=member.role.name,
            state=state_of(member),
            pid=member.pid,
            began=round(member.began, 3),
            deaths=member.deaths,
            died=None if member.ended is None else round(member.ended, 3),
            how=": ".join(part for part in (member.how, member.error) if part),
        )
        for crew in crews
        for member in crew.members
        if not member.role.once
    )


def state_of(member: Member) -> ProcessState:
    """How far a member is."""
    if member.resting:
        return ProcessState.RESTING
    if member.crew.phase is Phase.LEAVING:
        return ProcessState.LEAVING
    if member.pid and member.ready:
        return ProcessState.UP
    return ProcessState.AWAY if member.deaths else ProcessState.STARTING


def packed(
    processes: Sequence[ProcessFacts], releases: Mapping[str, Any] | None, room: int
) -> bytes:
    """What is told, as bytes.

    Args:
        processes: of the server.
        releases: as `Succession.listing`; None: nothing is known of them yet.
        room: bytes that there are. Where all does not fit, releases that nobody is answered by are
            left out, and how many are is said.
    """
    told: dict[str, Any] = {"processes": [asdict(each) for each in processes]}
    if releases is not None:
        told["releases"] = {**releases, "left_out": 0}
    content = json.dumps(told).encode()
    if len(content) <= room or releases is None:
        return content if len(content) <= room else b"{}"
    kept = list(releases["releases"])
    for state in (*SPARED, None):
        kept = [each for each in kept if state is not None and each["state"] != state]
        left_out = len(releases["releases"]) - len(kept)
        told["releases"] = {**releases, "releases": kept, "left_out": left_out}
        content = json.dumps(told).encode()
        if len(content) <= room:
            return content
    return b"{}"


def unpacked(content: bytes) -> tuple[tuple[ProcessFacts, ...], dict[str, Any]]:
    """What was told: processes, and releases as `Succession.listing` with what was left out."""
    told = json.loads(content or b"{}")
    processes = tuple(
        ProcessFacts(**{**each, "state": ProcessState(each["state"])})
        for each in told.get("processes", ())
    )
    return processes, told.get("releases", {})
