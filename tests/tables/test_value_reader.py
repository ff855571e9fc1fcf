"""Values of a file that somebody wrote: the allowed are read, all else is refused by its line."""

import pytest
from cascade_tables.errors import FileRefused
from cascade_tables.value_reader import ValueReader, where
from cascade_tables.yaml_files import parse_yaml

FILE = """\
owner: somebody
limits:
  rate: 5
  share: 0.5
levels: [low, high]
"""


def read(text: str = FILE) -> tuple[dict, ValueReader]:
    content, lines = parse_yaml(text, "limits.yaml")
    return content, ValueReader("limits.yaml", lines, FileRefused)


def test_what_is_allowed_is_read():
    content, reader = read()
    top = reader.mapping(content, (), ("owner", "limits", "levels"))
    limits = reader.mapping(top["limits"], ("limits",), ("rate", "share"))
    assert reader.required(top, "owner", (), reader.text) == "somebody"
    assert reader.required(limits, "rate", ("limits",), reader.whole(1, 5)) == 5
    assert reader.required(limits, "share", ("limits",), reader.number(0.5, 1)) == 0.5
    assert reader.optional(top, "nobody", (), reader.text) is None
    assert [
        reader.one_of(value, place, ("low", "high"))
        for place, value in reader.items(top["levels"], ("levels",))
    ] == ["low", "high"]
    assert reader.items("alone", ("levels",)) == [(("levels", 0), "alone")]
    assert reader.items(None, ("levels",)) == []
    assert reader.mapping(None, ("limits",)) == {}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            lambda reader, top: reader.mapping(top, (), ("owner", "limit", "levels")),
            r"line 2: the file has 'limits'; allowed: .*Did you mean 'limit'\?",
        ),
        (
            lambda reader, top: reader.mapping(top["owner"], ("owner",)),
            "line 1: owner is 'somebody'; allowed: names and their values",
        ),
        (
            lambda reader, top: reader.mapping({"n" * 101: 1}, ("limits",)),
            "line 2: limits has a name of 101 characters; allowed: 100",
        ),
        (
            lambda reader, top: reader.required(top["limits"], "burst", ("limits",), reader.text),
            "line 2: limits has no burst",
        ),
        (
            lambda reader, top: reader.whole(1, 4)(5, ("limits", "rate")),
            "line 3: limits.rate is 5; allowed: a whole number, 1 to 4",
        ),
        (
            lambda reader, top: reader.whole(0, 4)(True, ("limits", "rate")),
            "line 3: limits.rate is True; allowed: a whole number, 0 to 4",
        ),
        (
            lambda reader, top: reader.number(0, 0.4)(0.5, ("limits", "share")),
            "line 4: limits.share is 0.5; allowed: a number, 0 to 0.4",
        ),
        (
            lambda reader, top: reader.number(0, 1)(float("nan"), ("limits", "share")),
            "line 4: limits.share is nan; allowed: a number, 0 to 1",
        ),
        (
            lambda reader, top: reader.one_of("hihg", ("levels", 1), ("low", "high")),
            r"line 5: levels.1 is 'hihg'; allowed: low, high. Did you mean 'high'\?",
        ),
        (
            lambda reader, top: reader.items([1, 2, 3], ("levels",), most=2),
            "line 5: levels has 3 values; allowed: 2",
        ),
        (
            lambda reader, top: reader.text("two\nlines", ("owner",)),
            "line 1: owner is 'two.*lines'; allowed: a text on one line",
        ),
        (
            lambda reader, top: reader.text("x" * 1001, ("owner",)),
            "line 1: owner is .*; allowed: a text on one line, of up to 1,000 characters",
        ),
        (
            lambda reader, top: reader.text("", ("elsewhere", 3)),
            r"limits.yaml line 1: elsewhere.3 is ''; allowed: a text",
        ),
    ],
)
def test_all_else_is_refused_by_its_line(asked, message):
    content, reader = read()
    with pytest.raises(FileRefused, match=message):
        asked(reader, content)


def test_a_reader_of_secrets_shows_none():
    class Discreet(ValueReader):
        def said(self, value):
            return "a value"

    with pytest.raises(FileRefused) as refused:
        Discreet("keys.yaml", {}, FileRefused).whole(1, 2)("password", ("keys", 0))
    assert str(refused.value) == "keys.yaml: keys.0 is a value; allowed: a whole number, 1 to 2"


def test_a_place_is_said_as_a_path():
    assert where(("tables", "credit", 1)) == "tables.credit.1"
    assert where(()) == "the file"
