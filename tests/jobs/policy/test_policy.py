"""`policy.yaml`: what it may say, and how what it may not is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cascade_jobs.errors import PolicyRefused
from cascade_jobs.facts import DEFAULT_USES, USES
from cascade_jobs.policy import policy as module
from cascade_jobs.policy.gate import PolicyFile, read_policy
from cascade_jobs.policy.policy import Sensitivity, parse_policy

TEXT = """\
publisher: {name: Example Bank, url: "https://bank.example"}
tables:
  credit:
    residency: [eu, ch]
    sensitivity: confidential
    uses: [research]
    license: https://spdx.org/licenses/CC-BY-4.0.html
  "*": {residency: anywhere, sensitivity: internal}
executors:
  local: {region: eu, trust: restricted}
  cloud: {kind: ray, region: us, trust: public, burst: yes}
burst: {max_epsilon: 3}
"""


def test_what_it_says() -> None:
    found = parse_policy(TEXT)
    credit, others = found.tables["credit"], found.table("anything")
    assert (credit.residency, credit.sensitivity) == (("eu", "ch"), Sensitivity.CONFIDENTIAL)
    assert others is not None
    assert (others.residency, others.uses) == (None, DEFAULT_USES)
    local, cloud = found.executors["local"], found.executors["cloud"]
    assert (local.kind, local.region, local.trust, local.burst) == (
        "local", "eu", Sensitivity.RESTRICTED, False,
    )  # fmt: skip
    assert (cloud.kind, cloud.burst, found.max_epsilon) == ("ray", True, 3.0)
    terms = found.terms("credit")
    assert (terms.publisher, terms.uses, terms.residency) == (
        "Example Bank", ("research",), ("eu", "ch"),
    )  # fmt: skip


def test_what_the_module_shows_is_a_policy() -> None:
    doc = (module.__doc__ or "").splitlines()
    shown = "\n".join(line[4:] for line in doc if line.startswith("    "))
    assert set(parse_policy(shown).executors) == {"local", "cloud"}


def test_a_digest_tells_policies_apart_and_not_their_comments() -> None:
    one = parse_policy(TEXT).digest
    assert parse_policy(TEXT + "# a remark\n").digest == one
    assert parse_policy(TEXT.replace("max_epsilon: 3", "max_epsilon: 3.5")).digest != one
    assert parse_policy(TEXT.replace("eu, ch", "eu")).digest != one


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("burst: {max", "brust: {max", "line 12: the file has 'brust'; allowed: tables, executors"),
        ("burst: {max", "brust: {max", "Did you mean 'burst'?"),
        ("sensitivity: conf", "sensitivty: conf", "line 5: tables.credit has 'sensitivty'"),
        ("sensitivity: conf", "sensitivty: conf", "Did you mean 'sensitivity'?"),
        ("confidential", "confidental", "tables.credit.sensitivity is 'confidental'; allowed: pub"),
        ("confidential", "confidental", "Did you mean 'confidential'?"),
        ("trust: restricted", "trust: 5", "line 10: executors.local.trust is 5; allowed: public,"),
        ("region: eu, ", "", "line 10: executors.local has no region"),
        ("    sensitivity: confidential\n", "", "line 3: tables.credit has no sensitivity"),
        ("[eu, ch]", "[]", "tables.credit.residency is []; allowed: a list of regions, or any"),
        ("[eu, ch]", "[eu, 5]", "tables.credit.residency.1 is 5; allowed: a text on one line"),
        ("[eu, ch]", "[eu, anywhere]", "anywhere stands among regions; allowed: it alone"),
        ("[research]", "[reserch]", "is 'reserch'; allowed: alignment, evaluation,"),
        ("[research]", "[]", "tables.credit.uses is []; allowed: alignment, evaluation,"),
        ("kind: ray", "kind: slurm", "executors.cloud.kind is 'slurm'; allowed: local, ray"),
        ("cloud: {kind: ray", "cloud: {kind: local", "executor cloud is of kind local; allowed: "),
        ("local: {region", "local: {kind: ray, region", "executor local is of kind ray; allowed:"),
        ("kind: ray, ", "", "line 11: executor cloud has no kind; allowed: local, ray"),
        ("burst: yes", "burst: maybe", "is 'maybe'; allowed: true or false"),
        ("max_epsilon: 3", "max_epsilon: -1", "burst.max_epsilon is -1; allowed: a number from 0"),
        ("max_epsilon: 3", "max_epsilon: .nan", "burst.max_epsilon is nan; allowed: a number"),
        ("max_epsilon: 3", "max_epsilon: .inf", "burst.max_epsilon is inf; allowed: a number"),
        ("max_epsilon: 3", "max_epsilon: true", "burst.max_epsilon is True; allowed: a number"),
        ("{max_epsilon: 3}", "3", "burst is 3; allowed: names and their values"),
        ("https://bank.example", "bank example", "publisher.url is 'bank example'; allowed: as"),
        ("Example Bank", '"Example\\n"', "publisher.name is 'Example\\n'; allowed: a text on one"),
        ("tables:", "tables: {}\ntables:", "the key 'tables' stands here again"),
    ],
)
def test_what_it_may_not_say_is_named(before: str, after: str, said: str) -> None:
    assert before in TEXT
    with pytest.raises(PolicyRefused) as raised:
        parse_policy(TEXT.replace(before, after, 1))
    assert str(raised.value).startswith("policy.yaml")
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tables names none; allowed: one or more"),
        ("tables: {a: {residency: anywhere, sensitivity: public}}", "executors names none"),
        ("tables: {a: 5}\nexecutors: {local: {}}", "tables.a is 5; allowed: names"),
        ("tables: {a: }\nexecutors: {local: {}}", "tables.a has no residency"),
        ("[1, 2]", "the file is [1, 2]; allowed: names and their values"),
        ("tables: [a]", "tables is ['a']; allowed: names and their values"),
        ("tables: {" + "a" * 101 + ": {}}", "tables has a name of 101 characters"),
        ("{", "is not YAML"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyRefused) as raised:
        parse_policy(text)
    assert said in str(raised.value)


def test_every_use_is_explained() -> None:
    assert all(len(meaning.split()) > 2 for meaning in USES.values())
    assert set(DEFAULT_USES) <= set(USES)


@pytest.mark.parametrize("one", Sensitivity)
@pytest.mark.parametrize("other", Sensitivity)
def test_whoever_is_trusted_with_more_is_trusted_with_less(
    one: Sensitivity, other: Sensitivity
) -> None:
    order = ["public", "internal", "confidential", "restricted"]
    assert one.covers(other) == (order.index(one) >= order.index(other))


class TestFile:
    """A policy in a file, which changes while a server runs."""

    def test_it_is_read_anew_when_it_has_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(TEXT)
        file = PolicyFile(path)
        assert file.current() is file.current()
        path.write_text(TEXT.replace("[eu, ch]", "[us]"))
        assert file.current().tables["credit"].residency == ("us",)

    def test_what_was_there_before_does_not_hold_where_it_is_wrong_now(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(TEXT)
        file = PolicyFile(path)
        file.current()
        path.write_text("tables")
        for _ in range(2):
            with pytest.raises(PolicyRefused, match="allowed: names and their values"):
                file.current()
        path.unlink()
        with pytest.raises(PolicyRefused, match="No such file"):
            file.current()

    def test_one_that_is_another_of_the_same_size_and_time_is_seen(self, tmp_path: Path) -> None:
        """As `mv` leaves it."""
        path, other = tmp_path / "policy.yaml", tmp_path / "other.yaml"
        path.write_text(TEXT)
        other.write_text(TEXT.replace("eu", "us"))
        for each in (path, other):
            os.utime(each, (1e9, 1e9))
        file = PolicyFile(path)
        file.current()
        other.replace(path)
        assert file.current().executors["local"].region == "us"

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyRefused, match=r"none\.yaml cannot be read"):
            read_policy(tmp_path / "none.yaml")
