"""The report: one file that parses, has the figures in it, and lets no name out of its place."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.generator.tally import Tally
from cascade_loadtest.outcomes import Calls
from cascade_loadtest.report.page import page, written
from cascade_loadtest.run.result import Result
from cascade_loadtest.run.server_side import ServerSide
from cascade_loadtest.sla import Verdict

from tests.loadtest.answers import answers
from tests.loadtest.results import OPTIONS, VERDICTS, result

VOID = {"meta", "br", "line", "circle", "rect", "path"}
EVIL = "</script><script>alert(1)</script><b onload='x'>\"&"


class Document(HTMLParser):
    """Checks that what is opened is closed, and keeps text, elements and the embedded JSON."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.words: list[str] = []
        self.data = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.data += data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_all_figures_are_there() -> None:
    found = result(users={"scoring: no history": answers(3.0, failures=2)})
    text = Document(page(found)).text
    for expected in (
        "Load test of credit, constant",
        "1 of 2 objectives missed",
        "12.35 ms",
        "run too short",
        "not judged",
        "one worker's capacity",
        "no stream was free: 1",
        "99 % within 50 ms",
        "-50.0 %",
        "bad request",
        "refused because it was full",
        "worker 102 MiB",
        "scoring: no history",
        "RESOURCE_EXHAUSTED",
        "student 80 %",
        "rows by credit student 123",
        "6 hits, 7 misses",
        "python -m cascade_loadtest",
        "a processor",
        "5.00",  # the gap between server and caller
    ):
        assert expected in text, expected


def test_what_it_shows_is_in_it_as_json() -> None:
    data = json.loads(Document(page(result())).data)
    assert data["kept"] is False
    assert data["real_time"]["answered"] == 100
    assert data["windows"][0]["p99_ms"] == pytest.approx(25.5, rel=1e-3)
    assert [each["due"] for each in data["windows"]] == [26] * 4
    assert data["processes"][0]["rss"][-1] == 102 * 2**20
    assert data["gaps"] == [{"quantile": 0.99, "server": 20.0, "sent": 25.0, "due": 25.5}]


def test_nothing_is_fetched_and_nothing_runs() -> None:
    """One file: no address in it, no script but data, and a policy that says so."""
    text = page(result())
    found = Document(text)
    scripts = [attributes for tag, attributes in found.elements if tag == "script"]
    assert [each.get("type") for each in scripts] == ["application/json"]
    assert not {tag for tag, _ in found.elements} & {"link", "img", "iframe", "object"}
    held = [name for _, attributes in found.elements for name in attributes]
    assert not [name for name in held if name in ("src", "href") or name.startswith("on")]
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import", text)


@pytest.mark.parametrize(
    "changed",
    [
        {"command": EVIL},
        {"machine": {EVIL: EVIL}},
        {"options": Namespace(**{**vars(OPTIONS), "table": EVIL, "profile": EVIL})},
        {"users": {EVIL: answers(1.0, failures=1)}},
        {"verdicts": (Verdict(EVIL, EVIL, EVIL, EVIL, False),)},
        {"server": ServerSide(caller_faults={EVIL: 1}, rows={EVIL: 2}, notes=(EVIL,))},
    ],
)
def test_names_stay_in_their_places(changed: dict[str, object]) -> None:
    text = page(result(**changed))  # type: ignore[arg-type]
    found = Document(text)
    assert "alert(1)" in found.text + found.data
    assert sum(tag == "script" for tag, _ in found.elements) == 1
    assert not any("onload" in attributes for _, attributes in found.elements)
    json.loads(found.data)


def figures(found: Result) -> list[ElementTree.Element]:
    text = page(found)
    return [ElementTree.fromstring(each) for each in re.findall(r"<svg.*?</svg>", text, re.S)]


def test_figures_are_drawn_wide_and_narrow() -> None:
    found = figures(result())
    widths = [each.attrib["viewBox"].split()[2] for each in found]
    assert widths == ["860", "360"] * 5
    for each in found:
        assert each.attrib["role"] == "img"
        assert each.attrib["aria-label"]
        inside = float(each.attrib["viewBox"].split()[2])
        for mark in each.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(mark.attrib.get(name, 0)) <= inside


@pytest.mark.parametrize(
    "found",
    [
        result(Tally(1.0)),
        result(Tally(1.0, {"features late": Calls()})),
        result(verdicts=()),
        result(
            capacity=None, job=None, samples=[], gaps=[], server=ServerSide(), machine={}, users={}
        ),
    ],
    ids=["no windows", "no calls", "no promises", "nothing else"],
)
def test_a_run_that_found_little(found: Result) -> None:
    Document(page(found))
    assert len(figures(found)) >= 6


def test_all_kept_is_said() -> None:
    text = Document(page(result(verdicts=VERDICTS[1:]))).text
    assert "All 1 objectives kept" in text


def test_it_is_written_with_its_figures_beside_it(tmp_path: Path) -> None:
    path = written(result(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads((tmp_path / "report.json").read_text())["windows"]
    with pytest.raises(LoadFailed, match="the report cannot be written"):
        written(result(), tmp_path / "nowhere" / "report.html")
