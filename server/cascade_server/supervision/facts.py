"""Facts about a server's processes: the supervisor reports them, and other processes show them.

Only the supervisor knows which process died, how, and whether another is started in its place. On
every change, it writes all of this where other processes see it (`Books.told`). Those that show it
send no requests, so a stuck process cannot block the supervisor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from cascade_server.supervision.crews import Crew, Member, Phase

# States of releases to leave out if there is no room for all, in this order.
SPARED = ("available", "missing", "refused")


class ProcessState(StrEnum):
    """The state of a process."""

    STARTING = "starting"  # it loads
    UP = "up"
    AWAY = "away"  # it has died, and is started again
    RESTING = "resting"  # there is nothing for it to do
    LEAVING = "leaving"  # others have taken over


@dataclass(frozen=True)
class ProcessFacts:
    """One member of a crew.

    Attributes:
        name: its role, as in logs: "worker 0".
        state: its state.
        pid: its process; 0 if it has none now.
        began: when its process started, monotonic seconds; if it has none, the last one.
        deaths: number of its processes that ended unasked.
        died: when the last of them did, monotonic seconds; None if none did.
        how: how that one ended, and the last reason it gave: "was killed by SIGKILL".
    """

    name: str
    state: ProcessState
    pid: int
    began: float
    deaths: int = 0
    died: float | None = None
    how: str = ""


def facts_of(crews: Iterable[Crew]) -> tuple[ProcessFacts, ...]:
    """Return the facts of all members of some crews, except those that only fetch releases."""
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
    """Return the state of a member."""
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
    """Pack the facts as bytes.

    Args:
        processes: the server's processes.
        releases: as `Succession.listing`; None if nothing is known of them yet.
        room: available bytes. If not everything fits, releases that answer no request are left out,
            and their number is included.
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
    """Unpack processes, and releases as `Succession.listing` with the number left out."""
    told = json.loads(content or b"{}")
    processes = tuple(
        ProcessFacts(**{**each, "state": ProcessState(each["state"])})
        for each in told.get("processes", ())
    )
    return processes, told.get("releases", {})
