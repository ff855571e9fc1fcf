"""Who may run a job: a table of cases, and what holds of all of them."""

from __future__ import annotations

import pytest
from cascade_jobs.policy.decision import Payload, Work, decide, decide_all, some_may
from cascade_jobs.policy.policy import (
    KINDS,
    OTHERS,
    ExecutorPolicy,
    Policy,
    Sensitivity,
    TablePolicy,
)
from hypothesis import given
from hypothesis import strategies as st

PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED = Sensitivity


def policy(max_epsilon: float | None = 3.0) -> Policy:
    """Tables in the EU and anywhere; executors here, there, and hired."""
    return Policy(
        tables={
            "credit": TablePolicy(("eu", "ch"), CONFIDENTIAL),
            "weather": TablePolicy(None, PUBLIC),
        },
        executors={
            "local": ExecutorPolicy("local", "local", "eu", RESTRICTED),
            "far": ExecutorPolicy("far", "ray", "us", RESTRICTED),
            "weak": ExecutorPolicy("weak", "ray", "ch", INTERNAL),
            "hired": ExecutorPolicy("hired", "ray", "eu", CONFIDENTIAL, burst=True),
        },
        max_epsilon=max_epsilon,
    )


@pytest.mark.parametrize(
    ("work", "may"),
    [
        (Work("credit", None), {"local"}),
        (Work("credit", 3.0), {"local", "hired"}),
        (Work("credit", 3.1), {"local"}),
        (Work("credit", 0.0), {"local", "hired"}),
        (Work("credit", 1.0, Payload.ROWS), {"local"}),
        (Work("credit", 1.0, Payload.TRAINING), {"local"}),
        (Work("weather", None), {"local", "far", "weak"}),
        (Work("weather", 1.0), {"local", "far", "weak", "hired"}),
        (Work("unknown", 1.0), set()),
    ],
)
def test_who_may(work: Work, may: set[str]) -> None:
    decisions = decide_all(work, policy())
    assert {each.executor for each in decisions if each.may_run} == may
    assert [each.executor for each in decisions] == ["local", "far", "weak", "hired"]
    assert some_may(decisions) == bool(may)


@pytest.mark.parametrize(
    ("work", "executor", "reasons"),
    [
        (
            Work("credit", None), "far",
            ["it is in region us, and table credit may be in eu, ch only"],
        ),
        (
            Work("credit", None), "weak",
            ["it is trusted with internal, and table credit is confidential"],
        ),
        (
            Work("credit", None, Payload.ROWS), "hired",
            [
                "burst executors get releases only, and the job has rows",
                "the release has no bound of privacy, and burst executors get those of epsilon 3 "
                "at most",
            ],
        ),
        (
            Work("credit", 4.5), "hired",
            ["the release's epsilon is 4.5, and burst executors get those of 3 at most"],
        ),
        (
            Work("unknown", 1.0), "local",
            ["the policy does not name table unknown, nor '*' for all others"],
        ),
        (
            Work("credit", 1.0), "other",
            ["the policy does not name it; it names local, far, weak, hired"],
        ),
        (
            Work("credit", 1.0), "hired",
            [
                "it is in region eu, and table credit may be in eu, ch",
                "it is trusted with confidential, and the table is confidential",
                "the release's epsilon 1 is 3 at most",
            ],
        ),
    ],
)  # fmt: skip
def test_why(work: Work, executor: str, reasons: list[str]) -> None:
    decision = decide(work, executor, policy())
    assert list(decision.reasons) == reasons
    assert decision.why == f"{executor}: {'; '.join(reasons)}"


def test_burst_executors_get_nothing_where_no_budget_is_named() -> None:
    decision = decide(Work("credit", 0.1), "hired", policy(max_epsilon=None))
    assert not decision.may_run
    assert "no burst.max_epsilon" in decision.why


regions = st.sampled_from(["eu", "us", "ch"])
levels = st.sampled_from(list(Sensitivity))
epsilons = st.none() | st.floats(0, 10)
executors = st.builds(
    ExecutorPolicy, st.just("one"), st.sampled_from(KINDS), regions, levels, st.booleans()
)
tables = st.builds(
    TablePolicy, st.none() | st.lists(regions, min_size=1, max_size=3).map(tuple), levels
)
works = st.builds(Work, st.just("t"), epsilons, st.sampled_from(list(Payload)))


@given(works, executors, tables, epsilons, st.sampled_from(["t", OTHERS, "another"]))
def test_who_may_is_allowed_by_every_rule_and_who_may_not_is_told_why(
    work: Work, executor: ExecutorPolicy, table: TablePolicy, most: float | None, name: str
) -> None:
    made = Policy({name: table}, {"one": executor}, most)
    decision = decide(work, "one", made)
    assert decision.reasons
    assert decision == decide(work, "one", made)
    rules = [
        name != "another",
        table.residency is None or executor.region in table.residency,
        executor.trust.covers(table.sensitivity),
        not executor.burst
        or (
            work.payload is Payload.RELEASE
            and work.epsilon is not None
            and most is not None
            and work.epsilon <= most
        ),
    ]
    assert decision.may_run == all(rules)
