"""Decides from a snapshot what is wrong, since when, why, and what to do; pure.

A person who is paged at night reads one sentence. So a complete outage comes first, then missed
objectives, with failures as their likely cause, and last failures that have no effect yet. A cause
is named only if it was observed; otherwise the finding says that none was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from cascade_server.page.causes import cause_of

Snapshot = Mapping[str, Any]
CLASS_WORDS = {"realtime": "real-time", "full": "full-fidelity", "offline": "offline"}
# Share of its capacity at which a server, or a disk, counts as nearly full.
NEARLY_FULL = 0.9
# Seconds for which a problem that is over is still reported.
LATELY = 600.0
# Seconds for which requests may wait for an idle engine.
STUCK = 10.0
# Most findings to report, the most severe first.
MOST = 50
# States of a process that should answer calls and does not.
GONE = ("away", "silent")


class Level(StrEnum):
    """How urgently a person must react to a finding: the levels of alerts, and lower ones."""

    PAGE = "page"  # get up
    TICKET = "ticket"  # look at it within days
    NOTICE = "notice"  # for information
    OK = "ok"


LEVELS = tuple(Level)


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        level: how urgent it is.
        kind: the heading in docs/operations.md with detailed instructions.
        what: a sentence.
        since: when it began, seconds since 1970-01-01 UTC; None if unknown.
        cause: the observed cause, a sentence; "" if none was found.
        remedies: what to do, one sentence or command each.
    """

    level: Level
    kind: str
    what: str
    since: float | None = None
    cause: str = ""
    remedies: tuple[str, ...] = ()


def state_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return the overall state: its level, a sentence, and each finding, the most severe first."""
    found = sorted(findings(snapshot), key=lambda each: LEVELS.index(each.level))
    level = found[0].level if found else Level.OK
    sentence, since, cause = summary(snapshot, found)
    return {
        "level": str(level),
        "sentence": sentence,
        "detail": "" if level in (Level.PAGE, Level.TICKET) else measured(snapshot),
        "since": since,
        "cause": cause,
        "findings": [asdict(each) for each in found[:MOST]],
        "findings_left_out": max(0, len(found) - MOST),
    }


def summary(snapshot: Snapshot, found: Sequence[Finding]) -> tuple[str, float | None, str]:
    """Return one sentence on what is wrong, since when, and why; or that nothing is."""
    if found and found[0].level in (Level.PAGE, Level.TICKET):
        first = found[0]
        others = sum(each.level is first.level for each in found) - 1
        more = "" if not others else f" And {others:,} more, below."
        return first.what + more, first.since, first.cause
    objectives, tables = snapshot["objectives"], snapshot["tables"]
    if not any(each["events"] for each in objectives) and not tables:
        return "Ready. Nobody has called yet.", None, ""
    return "Every promise is kept.", None, ""


def measured(snapshot: Snapshot) -> str:
    """Describe how much data the state is based on."""
    objectives, quiet = snapshot["objectives"], snapshot["objectives_without_calls"]
    served = counted(snapshot["tables_served"], "table")
    if not objectives:
        return f"{served} served, {counted(quiet, 'promise')} to keep."
    whose = counted(len({each["table"] for each in objectives}), "table")
    words = f"{counted(len(objectives), 'promise')} to callers of {whose}"
    return f"{words} measured; {quiet:,} more had no calls yet." if quiet else f"{words} measured."


def findings(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield all problems, in no particular order."""
    yield from nobody_answers(snapshot)
    yield from promises(snapshot)
    yield from processes(snapshot)
    yield from overload(snapshot)
    yield from releases(snapshot)
    yield from stores(snapshot)
    yield from jobs(snapshot)
    yield from defects(snapshot)


def promises(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield objectives whose budgets burn: those with an alert, and those that may get one soon."""
    for each in snapshot["objectives"]:
        burn = each["burn_rates"]["5m"]
        level = {"page": Level.PAGE, "ticket": Level.TICKET}.get(each["alert"], Level.NOTICE)
        if level is Level.NOTICE and burn <= 1:
            continue
        callers = f"{CLASS_WORDS[each['class']]} calls"
        kept = kept_lately(snapshot, each)
        if level is Level.NOTICE:
            what = (
                f"{each['table']} spends the error budget of its {callers} {burn:g} times as fast "
                f"as it may: promised {each['promise']}; {kept}."
            )
        else:
            what = (
                f"{each['table']} breaks its promise to {callers}: {each['promise']}. Only {kept}."
            )
        cause = cause_of(snapshot, each)
        yield Finding(
            level,
            "a-promise-is-missed",
            what,
            each["since"],
            cause.what,
            cause.remedies,
        )


def kept_lately(snapshot: Snapshot, objective: Mapping[str, Any]) -> str:
    """Describe how an objective was met, over the shortest window in which it is missed."""
    for good, events, words in (
        ("recent_good_share", "recent_events", "in the last 5 minutes"),
        ("hour_good_share", "hour_events", "in the last hour"),
    ):
        if objective[events] and objective[good] < objective["target"]:
            return f"{percent(objective[good])} of {objective[events]:,} were {words}"
    days = f"in {snapshot['window_days']:g} days"
    return f"{percent(objective['good_share'])} of {objective['events']:,} were {days}"


def nobody_answers(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield a finding if no process is left that could answer."""
    workers = [each for each in snapshot["processes"] if each["name"].startswith("worker ")]
    nobody = bool(workers) and all(each["state"] in GONE for each in workers)
    if nobody:
        yield Finding(
            Level.PAGE,
            "a-process-is-away",
            "Nobody answers: "
            + (f"all {len(workers)} workers are" if len(workers) > 1 else "the only worker is")
            + " away or silent.",
            max((each["died"] for each in workers if each["died"]), default=None),
            next((f"{sentence_case(w['name'])} {w['how']}." for w in workers if w["how"]), ""),
            (
                "Take this server out of rotation; callers try others again by themselves.",
                "Look at the server's log for the last words of the processes.",
            ),
        )


def processes(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield processes that are away or silent, or were recently."""
    at = snapshot["at"]
    for each in snapshot["processes"]:
        name = sentence_case(each["name"])
        how = f" It {each['how']}." if each["how"] else ""
        again = f" It has been started again {times(each['deaths'])}."
        if each["state"] == "away":
            is_worker = name.startswith("Worker")
            grave = Level.TICKET if is_worker or "teacher" in name else Level.NOTICE
            yield Finding(
                grave,
                "a-process-is-away",
                f"{name} is away.",
                each["died"],
                (how + again).strip(),
                (
                    "It is started again by itself, later each time it fails.",
                    "Look at the server's log for the last words of the process.",
                ),
            )
        elif each["state"] == "silent":
            yield Finding(
                Level.TICKET,
                "a-process-is-away",
                f"{name} (process {each['pid']}) has said nothing for five seconds.",
                None,
                "It is stopped, or its event loop is stuck.",
                (f"py-spy dump --pid {each['pid']}", f"kill -KILL {each['pid']}"),
            )
        elif each["died"] is not None and at - each["died"] < LATELY:
            before = f": the one before {each['how']}" if each["how"] else ""
            yield Finding(
                Level.NOTICE,
                "a-process-is-away",
                f"{name} was started again{before}.",
                each["died"],
            )
    for each in snapshot["servers"]:
        if not each["up"]:
            yield Finding(
                Level.TICKET,
                "a-process-is-away",
                f"The server {each['target']}, which runs networks, is not asked.",
                None,
                each["reason"],
                ("Look at that server; it is asked again as soon as it answers.",),
            )


def overload(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield a finding if the server is full, or nearly so."""
    totals = snapshot["totals"]
    refused = sum(
        each["per_second"] for each in snapshot["refused"] if each["code"] == "RESOURCE_EXHAUSTED"
    )
    inside, limit = totals["inside"], totals["limit"]
    if refused:
        yield Finding(
            Level.NOTICE,
            "overload",
            f"{refused:g} calls/s are refused: they could not have been answered in time.",
            None,
            f"{inside:,} of {limit:,} places inside are taken; "
            f"{totals['answered_per_second']:g} calls/s are answered.",
            OVERLOADED,
        )
    elif limit and inside >= NEARLY_FULL * limit:
        yield Finding(
            Level.NOTICE,
            "overload",
            f"The server is nearly full: {inside:,} of {limit:,} places inside are taken.",
            None,
            "",
            OVERLOADED,
        )
    down = sorted(each["table"] for each in snapshot["tables"] if each["steps_down"])
    if down:
        yield Finding(
            Level.NOTICE,
            "auto-is-stepped-down",
            f"AUTO leaves the teacher out for {some(down)}, since a budget burns too fast.",
            None,
            "",
            ("It steps up again by itself once the budget burns more slowly.",),
        )


OVERLOADED = (
    "More workers (--workers), or more servers: docs/overload.md says what one can answer.",
    "cascade jobs list: offline jobs take what others leave, but share the memory's bandwidth.",
)


def releases(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield refused releases, canaries that are worse, and loading that takes long."""
    for each in snapshot["releases"]:
        name = f"{each['table']} version {each['version']}"
        if each["state"] == "refused":
            yield Finding(
                Level.TICKET,
                "a-release-was-refused",
                f"{name} was not loaded. What was served before is served still.",
                None,
                each["reason"],
                ("Release it anew, or remove it from the model repository.",),
            )
        trial = each.get("trial")
        if trial and trial["is_worse"]:
            yield Finding(
                Level.TICKET,
                "a-canary-is-worse",
                f"{name}, on trial with {percent(each['share'])} of the calls, is worse: "
                f"{percent(trial['canary_bad_share'])} bad against "
                f"{percent(trial['stable_bad_share'])} of the version that answers.",
                None,
                f"Objective {trial['objective']}.",
                (
                    "It is rolled back by itself once this can be no chance.",
                    f"cascade releases rollback {each['table']}",
                ),
            )
    rolled_back = snapshot["release_events"].get("canary_rolled_back_lately", 0)
    if rolled_back:
        yield Finding(
            Level.NOTICE,
            "a-canary-is-worse",
            f"{counted(rolled_back, 'canary was', 'canaries were')} rolled back in the last hour.",
            None,
            "",
            ("The server's log says why: look for “is rolled back”.",),
        )


def stores(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield a finding if the second level of the cache is of no use."""
    cache = snapshot["cache"]
    failing = cache["second_level_failing"] if cache else {}
    if failing:
        reasons = ", ".join(f"{why} {number:,}" for why, number in sorted(failing.items()))
        yield Finding(
            Level.NOTICE,
            "the-shared-cache-is-away",
            "The cache that servers share does not answer; rows are drawn anew instead.",
            None,
            f"In the last minute: {reasons}.",
            ("Look at the server of --cache-url; it is asked again by itself.",),
        )


def jobs(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield jobs that cannot go on."""
    found = snapshot["jobs"]
    if found is None:
        return
    if found.get("unreadable"):
        yield Finding(
            Level.TICKET,
            "jobs-do-not-go-on",
            "The ledger of jobs cannot be read.",
            None,
            found["unreadable"],
            ("Look at the disk of --state-dir.",),
        )
        return
    for each in found["list"]:
        if each["waiting"]:
            yield Finding(
                Level.NOTICE,
                "jobs-do-not-go-on",
                f"Job {each['id']} of {each['table']} waits.",
                each["waiting_since"],
                sentence_case(each["waiting"]),
            )
    if found["limit_bytes"] and found["bytes"] >= NEARLY_FULL * found["limit_bytes"]:
        yield Finding(
            Level.TICKET,
            "jobs-do-not-go-on",
            "The disk for results of jobs is nearly full.",
            None,
            f"{percent(found['bytes'] / found['limit_bytes'])} of --job-disk-mib is taken.",
            ("Fetch results and let go of jobs that nobody needs, or raise the limit.",),
        )


def defects(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield defects: engines that are stuck, tasks that started too late."""
    for each in snapshot["engines"]:
        name = f"The {each['tier']} of {each['table']} version {each['version']}"
        if each["waiting"] and (each["idle_seconds"] or 0) > STUCK:
            yield Finding(
                Level.TICKET,
                "an-engine-is-stuck",
                f"{name} has run nothing for {each['idle_seconds']:.0f} s, and "
                f"{counted(each['waiting'], 'request waits', 'requests wait')} for it.",
                snapshot["at"] - each["idle_seconds"],
            )
    for name, why in snapshot["failing_sections"].items():
        yield Finding(
            Level.NOTICE, "a-part-of-the-page-fails", f"{name} cannot be shown.", None, why
        )


# Formatting.


def percent(number: float) -> str:
    """Format a share for people, with enough digits to tell it from 1."""
    value = 100 * number
    if 99 < value < 100:
        left = 100 - value
        digits = 2 if left >= 0.05 else 4
        return f"{min(value, 100 - 10**-digits):.{digits}f} %"
    return f"{value:.1f} %" if abs(value) < 99.95 and value % 1 else f"{value:.0f} %"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def times(number: int) -> str:
    """Format a number of times in words: once, twice, 3 times."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first of some names, and the number of the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def sentence_case(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]
