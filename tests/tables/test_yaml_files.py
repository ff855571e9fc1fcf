"""YAML that people write: what it means, and which files are refused, and how."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cascade_tables import FileRefused, SchemaError, load_overrides
from cascade_tables.yaml_files import (
    MOST_BYTES,
    MOST_DEPTH,
    MOST_REPEATED,
    boolean,
    load_yaml,
    parse_yaml,
)


def bomb(levels: int, width: int = 9) -> str:
    """`width` to the power of `levels` values in as many lines."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * width) + "]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * width) + "]")
    return "\n".join(lines)


class TestMeaning:
    """Keys as they are written, values as YAML 1.2's core schema has them."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("true", True),
            ("FALSE", False),
            ("no", "no"),
            ("Off", "Off"),
            ("y", "y"),
            ("null", None),
            ("~", None),
            ("", None),
            ("12", 12),
            ("-1_000", -1000),
            ("0", 0),
            ("0x1F", 31),
            ("0o17", 15),
            ("007", "007"),
            ("1:30", "1:30"),
            ("1e6", 1e6),
            ("1.5E-3", 1.5e-3),
            (".5", 0.5),
            ("-.inf", float("-inf")),
            ("1.2.3", "1.2.3"),
            ("2024-02-29", date(2024, 2, 29)),
            ("2024-02-29 10:00:00", datetime(2024, 2, 29, 10)),
            ("'12'", "12"),
            ("[1, a]", [1, "a"]),
        ],
    )
    def test_values(self, text: str, value: Any) -> None:
        assert parse_yaml(f"k: {text}")[0] == {"k": value}

    def test_keys_are_names(self) -> None:
        text = "no: 1\n2020: 2\n1.0: 3\n~: 4\n2024-01-01: 5\n'on': 6"
        assert list(parse_yaml(text)[0]) == ["no", "2020", "1.0", "~", "2024-01-01", "on"]

    def test_aliases_and_merges(self) -> None:
        text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nsame: *base"
        assert parse_yaml(text)[0] == {
            "base": {"a": 1, "b": 2},
            "other": {"a": 1, "b": 3},
            "same": {"a": 1, "b": 2},
        }

    def test_keys_are_names_wherever_they_are_merged(self) -> None:
        """Also into what is read before the mapping that they come from."""
        text = (
            "a: &a {x: 1, 2020: y}\n"
            "deep: {deeper: {b: &b {<<: *a, x: 2}}}\n"
            "c: {<<: *b, z: 3}\n"
            "d: {<<: [*a, *b], no: 4}"
        )
        found = parse_yaml(text)[0]
        assert found["deep"]["deeper"]["b"] == {"x": 2, "2020": "y"}
        assert found["c"] == {"x": 2, "2020": "y", "z": 3}
        assert found["d"] == {"x": 1, "2020": "y", "no": 4}

    def test_lines(self) -> None:
        lines = parse_yaml("a: 1\nb:\n  - x\n  - c: 2\n\nd:\n  e:\n    f: 3\n")[1]
        assert lines[("a",)] == 1
        assert lines[("b", 1)] == 4
        assert lines[("b", 1, "c")] == 4
        assert lines[("d", "e", "f")] == 8

    @pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
    def test_nothing(self, text: str) -> None:
        assert parse_yaml(text)[0] is None

    def test_a_byte_order_mark_is_no_content(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
        assert load_yaml(tmp_path / "a.yaml") == {"a": 1}

    @pytest.mark.parametrize(
        ("value", "meant"),
        [("yes", True), ("On", True), ("no", False), ("OFF", False), ("maybe", "maybe"), (1, 1)],
    )
    def test_words_for_yes_and_no(self, value: Any, meant: Any) -> None:
        assert boolean(value) is meant


class TestRefusals:
    """A refusal names the file, the line and what is wrong with it."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a: 1\nb: 2\na: 3", " line 3, column 1: the key 'a' stands here again; it stands in"),
            ("t:\n  no: 1\n  'no': 2", " line 3, column 3: the key 'no' stands here again"),
            ("[a, b]: 1", " line 1, column 1: a key is a name"),
            ("? {a: 1}\n: 1", " line 1, column 3: a key is a name"),
            ("a: {<<: 3}", " line 1, column 9: expected a mapping"),
            (
                "b: 0\na: [1, 2\n\n",
                "not YAML: line 4, column 1: did not find expected ',' or ']', in "
                "what begins in line 2",
            ),
            ("a: 1\n b: 2", "not YAML: line 2, column 3: "),
            ("a: 2024-13-01", "line 1, column 4: '2024-13-01' cannot be read: month must be"),
            ("a: " + "1" * 5000, "line 1, column 4: '1111"),
            ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
            ("a: *nowhere", "line 1, column 4: "),
            ("--- 1\n--- 2\n", "line 2, column 1: "),
            ("a: \x07", "not YAML"),
            ("a: &a [1, *a]", " line 1: *a stands inside of what it repeats"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, said: str) -> None:
        with pytest.raises(FileRefused) as caught:
            parse_yaml(text)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_depth(self) -> None:
        depth = MOST_DEPTH
        assert parse_yaml("[" * depth + "]" * depth)[0]
        for deeper in (depth + 1, 500_000):
            with pytest.raises(FileRefused, match=f"line 1: nested more than {depth} deep"):
                parse_yaml("[" * deeper)

    def test_aliases_may_repeat_so_much(self) -> None:
        values = ", ".join(["x"] * 99)  # with their list: 100
        repeats = "\n".join(["  - *a"] * (MOST_REPEATED // 100))
        text = f"a: &a [{values}]\nb:\n{repeats}\n"
        assert len(parse_yaml(text)[0]["b"]) == MOST_REPEATED // 100
        with pytest.raises(FileRefused, match=r"line 103: \*a and the aliases before it repeat"):
            parse_yaml(text + "  - *a\n")

    def test_a_bomb_is_never_built(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is refused while it is parsed: nothing has been made of it."""
        monkeypatch.delattr(yaml.constructor.BaseConstructor, "construct_document")
        with pytest.raises(FileRefused, match="repeat more than 10,000 values"):
            parse_yaml(bomb(levels=100))

    def test_a_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        with pytest.raises(FileRefused, match=r"a\.yaml cannot be read: No such file or directory"):
            load_yaml(path)
        path.write_text("a: 1\na: 2")
        with pytest.raises(FileRefused, match=r"a\.yaml line 2, column 1: the key 'a'"):
            load_yaml(path)
        path.write_bytes(b"a: 1\nb: caf\xe9")
        with pytest.raises(FileRefused, match=r"a\.yaml line 2: the byte 0xe9 is not UTF-8"):
            load_yaml(path)

    def test_an_endless_file_is_not_read_to_its_end(self) -> None:
        with pytest.raises(FileRefused, match=f"/dev/zero is longer than {MOST_BYTES:,} bytes"):
            load_yaml(Path("/dev/zero"))


class TestWhereItIsUsed:
    def test_overrides(self, tmp_path: Path) -> None:
        path = tmp_path / "o.yaml"
        path.write_text("columns:\n  no: {drop: yes}\n  a: {other: no, nullable: off}\n")
        found = load_overrides(path)
        assert found["no"].drop is True
        assert (found["a"].other, found["a"].nullable) == ("no", False)

    def test_a_bomb_of_overrides(self, tmp_path: Path) -> None:
        path = tmp_path / "o.yaml"
        path.write_text("columns:\n  a:\n    " + bomb(10).replace("\n", "\n    "))
        with pytest.raises(SchemaError, match=r"o\.yaml line 7: \*a\d and the aliases before it"):
            load_overrides(path)
