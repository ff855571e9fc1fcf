"""`slo.yaml`: what it may say, what it means, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_server.errors import ConfigError
from cascade_server.objectives.objective import (
    DEFAULTS,
    Kind,
    Objective,
    SloConfig,
    load_slo,
    promised,
)
from cascade_server.terms import ServiceClass, Tier

WHOLE = """
service: scoring
window_days: 7
least_bad_events: 3
objectives:
  - table: "*"
    class: realtime
    latency:
      - {threshold_ms: 5, target: 0.9}
      - {threshold_ms: 50, target: 0.99}
    availability: {target: 0.999}
  - table: credit
    class: realtime
    least_bad_events: 1
    latency: {threshold_ms: 12.5, target: 0.95}
    fidelity: {tier: teacher, target: 0.2}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "slo.yaml"
    path.write_text(text)
    return path


class TestReading:
    """What a file says."""

    def test_everything_it_may_say(self, tmp_path: Path) -> None:
        config = load_slo(write(tmp_path, WHOLE))
        assert (config.service, config.window_days, config.window) == ("scoring", 7, 604_800)
        real = ServiceClass.REALTIME
        assert config.objectives == (
            Objective("*", real, Kind.AVAILABILITY, 0.999, least_bad=3),
            Objective("*", real, Kind.LATENCY, 0.9, threshold=0.005, least_bad=3),
            Objective("*", real, Kind.LATENCY, 0.99, threshold=0.05, least_bad=3),
            Objective("credit", real, Kind.LATENCY, 0.95, threshold=0.0125, least_bad=1),
            Objective("credit", real, Kind.FIDELITY, 0.2, tier=Tier.TEACHER, least_bad=1),
        )

    def test_thirty_days_and_ten_events_unless_it_says_otherwise(self, tmp_path: Path) -> None:
        text = "objectives: [{table: credit, class: offline, availability: {target: 0.9}}]"
        config = load_slo(write(tmp_path, text))
        assert (config.service, config.window_days) == ("cascade", 30)
        assert [each.least_bad for each in config.objectives] == [10]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (
                "",
                "the file is None; allowed: a mapping with service, window_days, least_bad_events",
            ),
            ("objectives: []", "objectives is []; allowed: a list of one or more"),
            ("window_days: 30", "the file lacks 'objectives'"),
            ("window_day: 30\nobjectives: []", "'window_day'; allowed: service, window_days"),
            (
                "window_days: 0\nobjectives: []",
                "window_days is 0; allowed: a whole number, 1 to",
            ),
            (
                "least_bad_events: 0\nobjectives: []",
                "least_bad_events is 0; allowed: a whole number, 1 to 1,000,000",
            ),
            (
                "objectives: [{table: a, class: full, least_bad_events: true}]",
                "objectives[0].least_bad_events is True; allowed: a whole number",
            ),
            ("least_bad_event: 3\nobjectives: []", "Did you mean 'least_bad_events'?"),
            ("window_days: 1.5\nobjectives: []", "window_days is 1.5; allowed: a whole number"),
            ("service: 'a b'\nobjectives: []", "service is 'a b'; allowed: letters"),
            ("objectives: [1]", "objectives[0] is 1; allowed: a mapping"),
            ("objectives: [{table: credit}]", "objectives[0] lacks 'class'"),
            (
                "objectives: [{table: 3, class: full}]",
                "objectives[0].table is 3; allowed: the",
            ),
            (
                "objectives: [{table: a, class: fast, availability: {target: 0.9}}]",
                "objectives[0].class is 'fast'; allowed: realtime, full, offline",
            ),
            ("objectives: [{table: a, class: full}]", "objectives[0] promises nothing"),
            (
                "objectives: [{table: a, class: full, latncy: {}}]",
                "objectives[0] has the key 'latncy'; allowed: table, class, least_bad_events, "
                "availability, latency, fidelity. Did you mean 'latency'?",
            ),
            (
                "objectives: [{table: a, class: full, availability: {target: 99.9}}]",
                "objectives[0].availability.target is 99.9; allowed: a share above 0 and below 1",
            ),
            (
                "objectives: [{table: a, class: full, availability: {target: true}}]",
                "objectives[0].availability.target is True",
            ),
            (
                "objectives: [{table: a, class: full, availability: {target: .nan}}]",
                "objectives[0].availability.target is nan",
            ),
            (
                "objectives: [{table: a, class: full, latency: {target: 0.9}}]",
                "objectives[0].latency lacks 'threshold_ms'",
            ),
            (
                "objectives: [{table: a, class: full, latency: [{threshold_ms: -5, target: 0.9}]}]",
                "objectives[0].latency[0].threshold_ms is -5; allowed: milliseconds above 0",
            ),
            (
                "objectives: [{table: a, class: full, fidelity: {tier: pool, target: 0.9}}]",
                "objectives[0].fidelity.tier is 'pool'; allowed: student, teacher",
            ),
            (
                "objectives: [{table: a, class: full, latency: []}]",
                "objectives[0].latency is []; allowed: a mapping, or a list of mappings",
            ),
            (
                "objectives:\n"
                "- {table: a, class: full, availability: {target: 0.9}}\n"
                "- {table: a, class: full, availability: {target: 0.8}}",
                "objectives: a-full-availability is there twice",
            ),
            ("objectives: [", "is not YAML"),
            ("\x00", "is not YAML"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, says: str) -> None:
        path = write(tmp_path, text)
        with pytest.raises(ConfigError) as caught:
            load_slo(path)
        assert str(caught.value).startswith(str(path))
        assert says in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"slo\.yaml cannot be read: No such file"):
            load_slo(tmp_path / "slo.yaml")


class TestTables:
    """`*` stands for every table without an objective of its own."""

    def test_a_table_s_own_objective_takes_the_place_of_the_general_one(
        self, tmp_path: Path
    ) -> None:
        config = load_slo(write(tmp_path, WHOLE))
        assert [each.name for each in config.for_tables(["credit", "adult"])] == [
            "adult-realtime-availability",
            "adult-realtime-latency-5ms",
            "adult-realtime-latency-50ms",
            "credit-realtime-availability",
            "credit-realtime-latency-12.5ms",
            "credit-realtime-fidelity-teacher",
        ]

    def test_an_unknown_table_is_named(self, tmp_path: Path) -> None:
        config = load_slo(write(tmp_path, WHOLE))
        with pytest.raises(ConfigError, match=r"'credit'; allowed: '\*' or one of adult, credits"):
            config.for_tables(["credits", "adult"])

    def test_the_defaults_promise_something_of_every_class(self) -> None:
        assert SloConfig().objectives == DEFAULTS
        assert {each.service for each in SloConfig().for_tables(["credit"])} == set(ServiceClass)


def test_a_tier_is_good_enough_from_its_own_upwards() -> None:
    def good(tier: Tier) -> list[Tier]:
        wanted = Objective("a", ServiceClass.REALTIME, Kind.FIDELITY, 0.5, tier=tier)
        return [each for each in Tier if wanted.satisfied_by(each)]

    assert good(Tier.STUDENT) == [Tier.STUDENT, Tier.TEACHER]
    assert good(Tier.TEACHER) == [Tier.TEACHER]


def test_what_is_promised_is_the_threshold_of_the_highest_target() -> None:
    realtime, latency = ServiceClass.REALTIME, Kind.LATENCY
    objectives = (
        Objective("a", realtime, latency, 0.9, threshold=0.005),
        Objective("a", realtime, latency, 0.99, threshold=0.05),
        Objective("a", ServiceClass.FULL, latency, 0.999, threshold=1.0),
        Objective("b", realtime, Kind.AVAILABILITY, 0.999),
    )
    assert promised(objectives) == {"a": 0.05}
