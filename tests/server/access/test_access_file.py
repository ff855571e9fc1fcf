"""`access.yaml`: what it says, and that what is wrong with it is named, without a secret."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from cascade_server.access.access_file import is_safe_url, parse_access
from cascade_server.access.grants import Kind, Rate
from cascade_server.errors import ConfigError
from cascade_server.terms import Priority
from hypothesis import given
from hypothesis import strategies as st

from tests.server.access.examples import key_of, lines

ISSUERS = "issuers: {bank: {issuer: 'https://b.example', audience: c, algorithms: [RS256]}}\n"
WORDS = (
    *("tenants", "issuers", "defaults", "a", "keys", "id", "sha256", "expires", "tokens"),
    *("claims", "issuer", "tables", "may", "rates", "rows", "limits"),
)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_access(text)
    return str(caught.value)


class TestReading:
    """What a file says becomes values."""

    def test_a_tenant(self) -> None:
        config = parse_access(
            f"""
            tenants:
              fraud:
                keys: {lines("fraud", expires="x").replace('"x"', "2027-06-30")}
                certificates: [scoring.bank.example]
                tables: [credit, payments]
                may: [synthesize, statistics]
                priority: offline
                rates: {{requests: 5, rows: {{per_second: 100, burst: 1000}}}}
                quotas: {{rows: 1_000_000, cost: 2.5}}
                limits: {{rows: 100, draws: 8, connections: 3}}
            """
        )
        tenant, (_, record) = config.tenants["fraud"], key_of("fraud")
        grant = tenant.grant
        assert config.key_tenants[record.id] is tenant
        assert config.keys[record.id].sha256 == record.sha256
        assert config.keys[record.id].expires == 1_814_313_600.0
        assert config.certificate_tenants["scoring.bank.example"] is tenant
        assert grant.tables == {"credit", "payments"}
        assert grant.kinds == {Kind.SYNTHESIZE, Kind.STATISTICS}
        assert grant.priority is Priority.OFFLINE
        assert (grant.requests, grant.rows) == (Rate(5.0, 5.0), Rate(100.0, 1000.0))
        assert (grant.rows_a_day, grant.cost_a_day) == (1_000_000, 2.5)
        assert (grant.max_rows, grant.max_draws, grant.connections) == (100, 8, 3)

    def test_who_is_given_nothing_may_nothing(self) -> None:
        grant = parse_access("tenants: {a: {}}").tenants["a"].grant
        assert grant.tables == frozenset()
        assert not grant.kinds

    def test_defaults_are_for_who_says_nothing_else(self) -> None:
        config = parse_access(
            "defaults: {rates: {requests: 5}, limits: {rows: 10, draws: 2}}\n"
            "tenants: {a: {limits: {rows: 20}}, b: {rates: {requests: 7}}}"
        )
        a, b = config.tenants["a"].grant, config.tenants["b"].grant
        assert (a.requests, a.max_rows, a.max_draws) == (Rate(5.0, 5.0), 20, 2)
        assert (b.requests, b.max_rows) == (Rate(7.0, 7.0), 10)

    def test_a_star_is_all_tables(self) -> None:
        assert parse_access("tenants: {a: {tables: '*'}}").tenants["a"].grant.sees("any")

    def test_files_that_it_names_are_beside_it(self) -> None:
        text = "issuers: {b: {issuer: b, audience: c, algorithms: [ES256], keys: k.pem}}\n"
        config = parse_access(text + "tenants: {a: {}}", folder=Path("/etc/cascade"))
        assert config.issuers["b"].keys == Path("/etc/cascade/k.pem")


class TestRefusing:
    """What is not understood is refused by its line, and never half taken."""

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "tenants names none"),
            ("tenants: {a: {table: [x]}}", "Did you mean 'tables'?"),
            ("tenants: {a: {may: [syntesize]}}", "Did you mean 'synthesize'?"),
            ("tenants: {a: {priority: high}}", "allowed: realtime, offline"),
            ("tenants:\n  a:\n    rates: {requests: 0}", "line 3: tenants.a.rates.requests is 0"),
            ("tenants: {a: {rates: {requests: true}}}", "allowed: a number"),
            ("tenants: {a: {quotas: {rows: -1}}}", "tenants.a.quotas.rows is -1"),
            ("tenants: {a: {limits: {rows: 0}}}", "tenants.a.limits.rows is 0"),
            ("tenants: {'a b': {}}", "a tenant is called 'a b'"),
            ("tenants: {a: {keys: [{id: csk_0}]}}", "csk_ and 12 digits"),
            ("tenants: {a: {tokens: [{issuer: bank}]}}", "issuer is 'bank'"),
            (ISSUERS + "tenants: {a: {tokens: [{issuer: bank}]}}", "has no claims"),
            ("issuers: {b: {issuer: x, audience: c}}\ntenants: {a: {}}", "has no algorithms"),
            (ISSUERS.replace("RS256", "none") + "tenants: {a: {}}", "allowed: RS256"),
            (ISSUERS.replace("RS256", "HS256") + "tenants: {a: {}}", "allowed: RS256"),
            (ISSUERS.replace("https", "http") + "tenants: {a: {}}", "allowed: https://HOST"),
            (
                "defaults: {rates: {requests: x}}\ntenants: {a: {}}",
                "defaults.rates.requests is 'x'",
            ),
            ("tenants: [a]", "allowed: names and their values"),
            ("- a", "allowed: names and their values"),
            (": :", "not YAML"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, why: str) -> None:
        assert why in refused(text)

    def test_a_key_is_not_repeated_wherever_it_stands(self) -> None:
        key, record = key_of("misplaced")
        for text in (
            f"tenants: {{a: {{keys: [{{id: {record.id}, sha256: {key}}}]}}}}",
            f"tenants: {{a: {{keys: [{key}]}}}}",
            f"tenants: {{a: {{keys: {key}}}}}",
            f"tenants: {{a: {{priority: {key}}}}}",
            f"tenants: {{a: {{rates: {{rows: {key}}}}}}}",
            f"tenants: {{a: {{{key}: 1}}}}",
            f"tenants: {{a: {{may: [{key}]}}}}",
        ):
            assert key[len(record.id) :] not in refused(text)

    def test_a_key_of_two_tenants(self) -> None:
        keys = lines("twice")
        text = f"tenants:\n  a: {{keys: {keys}}}\n  b: {{keys: {keys}}}"
        assert "stands in keys of a and of b; allowed: once" in refused(text)

    def test_tokens_of_two_issuers(self) -> None:
        """The second one's would never be taken, whatever the file says of them."""
        issuer = "issuer: 'https://a.example', algorithms: [RS256]"
        text = f"issuers:\n  a: {{{issuer}, audience: c}}\n  b: {{{issuer}, audience: AUD}}\n"
        text += "tenants: {t: {}}"
        assert "b has the issuer and the audience of a" in refused(text.replace("AUD", "c"))
        assert parse_access(text.replace("AUD", "d")).issuers.keys() == {"a", "b"}

    def test_more_tenants_than_there_may_be(self) -> None:
        text = "tenants:\n" + "".join(f"  t{number}: {{}}\n" for number in range(1001))
        assert "1,001 names; allowed: 1,000" in refused(text)

    @given(st.text(max_size=200))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with suppress(ConfigError):
            parse_access(text)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda some: (
                st.lists(some, max_size=3)
                | st.dictionaries(
                    st.sampled_from(WORDS),
                    some,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_content_is_read_or_refused(self, content: object) -> None:
        with suppress(ConfigError):
            parse_access(yaml.safe_dump({"tenants": {"a": content}, "issuers": content}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://login.bank.example/keys", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://localhost/keys", True),
        ("http://login.bank.example/keys", False),
        ("https://user:password@login.bank.example", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://[", False),
    ],
)
def test_where_keys_may_be_fetched(url: str, expected: bool) -> None:
    assert is_safe_url(url) is expected
