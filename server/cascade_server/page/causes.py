"""Finds why an objective is missed: what was observed at the same time, the most likely first.

Each rule looks for one problem, and says what it saw. The first rule with a result is the cause; no
rule guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Snapshot = Mapping[str, Any]
Objective = Mapping[str, Any]
# Least share of the failed calls for one status code to be the explanation.
MOSTLY = 0.5
# Seconds after which a reload no longer explains anything.
RELOADED = 600.0
# Most seconds between a death and its consequences: counts are in cells of ten seconds.
NEAR = 15.0


@dataclass(frozen=True)
class Cause:
    """The explanation of a missed objective.

    Attributes:
        what: a sentence; "" if nothing was found.
        remedies: what to do, one sentence or command each.
    """

    what: str = ""
    remedies: tuple[str, ...] = ()


NOTHING_SEEN = Cause(
    "",
    (
        "No cause was seen here. Compare the charts with what changed at that time: callers, "
        "deploys, neighbours on the machine.",
        "The server's log has a line for each process that died and each release that was refused.",
    ),
)


def cause_of(snapshot: Snapshot, objective: Objective) -> Cause:
    """Return the most likely cause of a missed objective."""
    for rule in RULES:
        found = rule(snapshot, objective)
        if found is not None:
            return found
    return NOTHING_SEEN


def needs_teacher(objective: Objective) -> bool:
    """Return whether only the teacher can meet the objective."""
    return objective["class"] in ("full", "offline") or objective["kind"] == "fidelity"


def worker_away(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check for a process that answers calls and is gone or stuck."""
    away = [
        each
        for each in snapshot["processes"]
        if each["name"].startswith("worker ") and each["state"] in ("away", "silent")
    ]
    if not away:
        return None
    workers = [each for each in snapshot["processes"] if each["name"].startswith("worker ")]
    how = f" It {away[0]['how']}." if away[0]["how"] else ""
    does = "says nothing" if away[0]["state"] == "silent" else "is started again"
    whole = f" {len(away)} of {len(workers)} workers are away." if len(workers) > 1 else ""
    return Cause(
        f"{away[0]['name'].capitalize()} {does}.{how}{whole}",
        (
            "Look at the server's log for the last words of the process.",
            "If it dies again and again, take the server out of rotation and roll back what "
            "changed last.",
        ),
    )


def teacher_away(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check for a missing teacher, which these calls need."""
    needs = needs_teacher(objective)
    for each in snapshot["processes"]:
        if "teacher" in each["name"] and each["state"] in ("away", "starting") and needs:
            how = f": it {each['how']}" if each["how"] else ""
            return Cause(
                f"The teacher's process is away{how}.",
                (
                    "It is started again by itself; while it is away AUTO is answered by the "
                    "student.",
                    "Look at the server's log for its last words, and at the machine's memory.",
                ),
            )
    if needs and snapshot["servers"] and not any(each["up"] for each in snapshot["servers"]):
        return Cause(
            "None of the servers that run the networks answers.",
            ("Look at these servers: the part Processes names them.",),
        )
    return None


def canary_worse(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check for a version on trial that answers some of the calls, and worse."""
    for each in snapshot["releases"]:
        trial = each.get("trial")
        if each["table"] == objective["table"] and trial and trial["is_worse"]:
            return Cause(
                f"Version {each['version']} is on trial, and worse than the one that answers.",
                (f"cascade releases rollback {each['table']}",),
            )
    return None


def by_code(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check whether most recent failures have one status code."""
    if objective["kind"] != "availability":
        return None
    failed = {
        each["code"]: each["last_five_minutes"]
        for each in snapshot["refused"]
        if each["table"] == objective["table"]
        and each["class"] == objective["class"]
        and each["is_ours"]
        and each["last_five_minutes"]
    }
    if not failed:
        return None
    code, most = max(failed.items(), key=lambda each: each[1])
    if most < MOSTLY * sum(failed.values()) or code not in CODES:
        return None
    what, remedies = CODES[code]
    totals = snapshot["totals"]
    numbers = {"most": f"{most:,}", "inside": totals["inside"], "limit": totals["limit"]}
    return Cause(what.format(**numbers), remedies)


CODES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "RESOURCE_EXHAUSTED": (
        "Overload: {most} calls were refused in the last 5 minutes, since they could not have "
        "been answered in time. {inside} of {limit} places inside are taken.",
        (
            "More workers (--workers) or more servers; docs/overload.md says what one answers.",
            "Look for the caller that asks for more than before: the part Refused, by table.",
        ),
    ),
    "DEADLINE_EXCEEDED": (
        "{most} calls ran out of time in the last 5 minutes after they had been let in.",
        (
            "Compare the p99 with the callers' deadlines, and look for what else uses the "
            "processors: jobs, neighbours.",
        ),
    ),
    "UNAVAILABLE": (
        "{most} calls found no process or no model that could answer in the last 5 minutes.",
        ("Look at the parts Processes and Releases, and at the server's log.",),
    ),
    "INTERNAL": (
        "{most} calls ended in a defect of the server in the last 5 minutes.",
        (
            "The server's log has the stack; roll back what changed last.",
            "cascade releases list: a release that loads and cannot draw is rolled back with "
            "cascade releases rollback TABLE.",
        ),
    ),
    "UNKNOWN": (
        "{most} calls ended in a defect of the server in the last 5 minutes.",
        ("The server's log has the stack; roll back what changed last.",),
    ),
}


def full_house(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check whether calls are refused, or almost, and admitted ones wait."""
    totals = snapshot["totals"]
    refused = sum(
        each["per_second"] for each in snapshot["refused"] if each["code"] == "RESOURCE_EXHAUSTED"
    )
    is_full = totals["limit"] and totals["inside"] >= 0.9 * totals["limit"]
    if objective["kind"] != "latency" or not (refused or is_full):
        return None
    return Cause(
        f"Overload: {refused:g} calls/s are refused, and {totals['inside']} of {totals['limit']} "
        "places inside are taken.",
        ("More workers (--workers) or more servers; docs/overload.md says what one answers.",),
    )


def stepped_down(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check whether the teacher is left out to meet another objective."""
    if objective["kind"] != "fidelity":
        return None
    for each in snapshot["tables"]:
        if each["table"] == objective["table"] and each["steps_down"]:
            return Cause(
                "AUTO leaves the teacher out, since another of the table's budgets burns too fast.",
                ("Look at that promise first: this one recovers with it.",),
            )
    return None


def process_died(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check for a process that these calls need, which died at the time and is back."""
    since = objective["since"]
    for each in snapshot["processes"]:
        is_needed = each["name"].startswith("worker ") or (
            "teacher" in each["name"] and needs_teacher(objective)
        )
        died = each["died"]
        if is_needed and died is not None and since is not None and died >= since - NEAR:
            return Cause(
                f"{each['name'].capitalize()} {each['how'] or 'died'}, and was started again; "
                "what was inside it failed.",
                ("Look at the server's log for why. It is back; the budget recovers by itself.",),
            )
    return None


def reloaded(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check for new releases that were loaded just before."""
    taken, since = snapshot["generation_since"], objective["since"]
    if not taken or since is None or not taken - 60 <= since <= taken + RELOADED:
        return None
    if snapshot["generation"] == 1:
        return Cause(
            "The server has begun only then; the first calls of a cold machine are slow.",
            ("Wait some minutes; the budget recovers by itself.",),
        )
    return Cause(
        f"Generation {snapshot['generation']} of the processes has taken over at that time, with "
        "what was loaded then.",
        (f"cascade releases rollback {objective['table']}",),
    )


def job_beside(snapshot: Snapshot, objective: Objective) -> Cause | None:
    """Check for offline work on the same machine."""
    if objective["kind"] != "latency" or not snapshot["jobs"]:
        return None
    running = [each for each in snapshot["jobs"].get("list", ()) if each["state"] == "RUNNING"]
    if not running:
        return None
    return Cause(
        f"Job {running[0]['id']} of {running[0]['table']} is being worked off beside these calls.",
        (f"cascade jobs cancel {running[0]['id']}", "Or serve it elsewhere: --executors 0 here."),
    )


Rule = Callable[[Snapshot, Objective], Cause | None]
RULES: tuple[Rule, ...] = (
    canary_worse,
    worker_away,
    teacher_away,
    stepped_down,
    process_died,
    by_code,
    full_house,
    reloaded,
    job_beside,
)
