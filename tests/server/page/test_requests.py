"""What a browser may ask for, and under which name."""

from __future__ import annotations

import pytest
from cascade_server.page.assets import load_assets
from cascade_server.page.requests import POLICY, Answer, Wanted, decide, is_known
from cascade_server.terms import ServiceClass

ASSETS = load_assets()


def ask(
    target: str, method: str = "GET", host: str = "localhost:9465", **headers: str
) -> Answer | Wanted:
    given = [("host", host), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return decide(method, target, given, ASSETS, frozenset({"ops.example"}))


class TestNames:
    """Another site's name may be made to lead here (DNS rebinding); it must find nothing."""

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LOCALHOST:9465",
            "localhost.",
            "127.0.0.1:9465",
            "10.1.2.3",
            "[::1]:9465",
            "[::1]",
            "ops.example",
            "ops.example:80",
        ],
    )
    def test_known(self, host: str) -> None:
        assert is_known(host, {"ops.example"})

    @pytest.mark.parametrize(
        "host",
        [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:x",
            "localhost:9465:1",
            "[::1",
            "ops.example@evil.example",
            "127.1",
            "٣.٣.٣.٣",
        ],
    )
    def test_unknown(self, host: str) -> None:
        assert not is_known(host, {"ops.example"})

    @pytest.mark.parametrize("target", ["/", "/snapshot.json", "/events", "/page.css", "/nothing"])
    def test_nothing_is_answered_under_an_unknown_name(self, target: str) -> None:
        found = ask(target, host="evil.example")
        assert isinstance(found, Answer)
        assert found.status == 421
        assert b"ops_names" in found.body

    def test_one_name_and_no_more(self) -> None:
        headers = [("host", "localhost"), ("host", "evil.example")]
        found = decide("GET", "/", headers, ASSETS, frozenset())
        assert isinstance(found, Answer)
        assert found.status == 421


class TestRequests:
    """GET and HEAD of a few paths."""

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "ODD"])
    def test_the_page_only_shows(self, method: str) -> None:
        found = ask("/", method)
        assert isinstance(found, Answer)
        assert found.status == 405
        assert found.headers["Allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        "target",
        [
            "/../config.py",
            "/assets/../../config.py",
            "/__init__.py",
            "/js",
            "//etc/passwd",
            "/index.html/",
            "http://[bad/",
            "*",
        ],
    )
    def test_nothing_else_is_there(self, target: str) -> None:
        found = ask(target)
        assert isinstance(found, Answer)
        assert found.status in (400, 404)

    def test_the_page_itself(self) -> None:
        found = ask("/?from=bookmark")
        assert isinstance(found, Answer)
        assert found.status == 200
        assert found.kind.startswith("text/html")
        again = ask("/", if_none_match=found.headers["ETag"])
        assert isinstance(again, Answer)
        assert (again.status, again.body) == (304, b"")

    def test_a_past_is_of_a_table_and_class(self) -> None:
        wanted = ask("/past.json?table=a%26b%2F%C3%A9&class=full")
        assert wanted == Wanted("past", "a&b/é", ServiceClass.FULL)
        assert ask("/past.json") == Wanted("past")
        found = ask("/past.json?class=fast")
        assert isinstance(found, Answer)
        assert found.status == 400
        assert b"realtime, full, offline" in found.body

    def test_too_many_fields_are_refused(self) -> None:
        found = ask("/past.json?" + "&".join(f"a{n}=1" for n in range(1000)))
        assert isinstance(found, Answer)
        assert found.status == 400


class TestPolicy:
    """No inline script or style, nothing from elsewhere."""

    def test_it_allows_nothing_but_what_is_served_here(self) -> None:
        rules = dict(rule.partition(" ")[::2] for rule in POLICY.split("; "))
        assert rules["default-src"] == "'none'"
        assert {rules[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
        assert "unsafe" not in POLICY

    def test_the_document_holds_none(self) -> None:
        page = ASSETS["/"].content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert "onclick" not in page
        assert page.count("<script") == page.count('<script type="module" src="js/main.js">')
        assert "http://" not in page
        assert "https://" not in page

    def test_no_markup_is_made_of_texts(self) -> None:
        ours = [path for path in ASSETS if path.startswith("/js/")]
        assert len(ours) > 5
        for path in ours:
            script = ASSETS[path].content.decode()
            for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
                assert way not in script, path

    def test_what_is_vendored_has_its_licence(self) -> None:
        assert b"Permission is hereby granted" in ASSETS["/vendor/uplot/LICENSE"].content
