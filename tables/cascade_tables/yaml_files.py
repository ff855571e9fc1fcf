"""YAML files that people write, read so that no file can surprise or stop a program.

Three files of ours are YAML: overrides of a schema, `slo.yaml`, and a server's configuration. All
are read here, for three reasons.

- **Bounds.** Ten lines of aliases of aliases stand for a billion values (a "YAML bomb"), which no
  message could even print. Size, depth, and what aliases repeat are counted while the file is
  parsed, before anything is made of it.
- **Keys are names, as they are written.** A column that is called `no`, `2020` or `1.0` is that
  column, where YAML 1.1 makes False, 2020 and 1.0 of it. A key that stands twice is refused; YAML
  libraries silently keep the last.
- **Values as YAML 1.2's core schema reads them.** Only `true` and `false` are booleans, so the
  label `no` needs no quotes (`boolean` takes the other words where a yes or a no is asked for);
  `1e6` is a number; `1:30` is a text and no count of minutes; `007` is a text, since whoever writes
  it may mean an octal number, a decimal one or a code. Of YAML 1.1 stay dates, since TOML has them
  too, and `1_000`.

Importing this module imports PyYAML, which a server without such a file does not need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cascade_tables.errors import FileRefused, shown

try:
    from yaml import CSafeLoader as _SafeLoader  # ten times as fast
except ImportError:  # pragma: no cover - PyYAML's wheels all have it
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

# A schema override for each of 60,000 columns is some 2 MB.
MOST_BYTES = 4 * 2**20
MOST_DEPTH = 32
# Values that a file has only because aliases repeat them.
MOST_REPEATED = 10_000

MERGE = "tag:yaml.org,2002:merge"

# Where in a file a value stands: keys of mappings and places in lists, from the top.
Place = tuple[str | int, ...]

# The ways to say yes and no which YAML 1.1 reads as booleans, and people as words.
_BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def load_yaml(path: Path) -> Any:
    """Read a file, as mappings with keys of text, lists, and plain values.

    Raises:
        FileRefused: it cannot be read, is not YAML, or is beyond the bounds; names file and line.
    """
    return load_yaml_with_lines(path)[0]


def load_yaml_with_lines(path: Path) -> tuple[Any, dict[Place, int]]:
    """Likewise, and the line of each value, for messages about what the values mean.

    Raises:
        FileRefused: as `load_yaml`.
    """
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file that a person wrote; a pipe or a device may be one, an endless one not.

    Raises:
        FileRefused: it cannot be read, is longer than `most_bytes`, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as exc:
        raise FileRefused(f"{path} cannot be read: {exc.strerror}") from exc
    if len(content) > most_bytes:
        raise FileRefused(f"{path} is longer than {most_bytes:,} bytes, which is the most allowed")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        wrong = f"0x{content[exc.start]:02x}"
        raise FileRefused(
            f"{path} line {line}: the byte {wrong} is not UTF-8; save the file as UTF-8"
        ) from exc


def parse_yaml(text: str, name: str = "the text") -> tuple[Any, dict[Place, int]]:
    """The content of a file and the lines of its values; a file without content is None.

    Args:
        text: of the file.
        name: what messages call the file.

    Raises:
        FileRefused: it is not YAML, or is beyond the bounds; names the line.
    """
    try:
        _check_bounds(text, name)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, {}
            _take_keys_as_names(node, set())
            return loader.construct_document(node), dict(_lines(node, ()))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = "" if mark is None else f" line {mark.line + 1}, column {mark.column + 1}"
        raise FileRefused(f"{name}{where}: {exc.problem}") from exc
    except yaml.YAMLError as exc:
        first = str(exc).partition("\n")[0]
        raise FileRefused(f"{name} is not YAML: {first}") from exc


def boolean(value: Any) -> Any:
    """The boolean that `yes`, `no`, `on` and `off` stand for; anything else as it is."""
    return _BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


@dataclass
class _Open:
    """A list or a mapping that has begun and not ended.

    Attributes:
        anchor: the name that aliases call it by; None: it has none.
        line: where it begins.
        values: in it so far, with those that aliases repeat.
    """

    anchor: str | None
    line: int
    values: int = 1


def _check_bounds(text: str, name: str) -> None:
    """Count depth and repeated values from the parser's events, of which there are few.

    Raises:
        FileRefused: it is not YAML, or is beyond the bounds.
    """
    stack: list[_Open] = []
    sizes: dict[str | None, int] = {}
    repeated = 0

    def end(anchor: str | None, values: int) -> None:
        sizes[anchor] = values
        if stack:
            stack[-1].values += values

    try:
        for event in yaml.parse(text, Loader=_Loader):
            assert event.start_mark is not None
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                if any(each.anchor == event.anchor for each in stack):
                    raise FileRefused(
                        f"{name} line {line}: *{event.anchor} stands inside of what it repeats"
                    )
                values = sizes.get(event.anchor, 1)  # an unknown one is the composer's to refuse
                repeated += values
                if repeated > MOST_REPEATED:
                    raise FileRefused(
                        f"{name} line {line}: *{event.anchor} and the aliases before it repeat "
                        f"more than {MOST_REPEATED:,} values, which is the most allowed"
                    )
                end(None, values)
            elif isinstance(event, yaml.ScalarEvent):
                end(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                stack.append(_Open(event.anchor, line))
                if len(stack) > MOST_DEPTH:
                    raise FileRefused(
                        f"{name} line {line}: nested more than {MOST_DEPTH} deep, which is the "
                        "most allowed"
                    )
            elif isinstance(event, yaml.CollectionEndEvent):
                done = stack.pop()
                end(done.anchor, done.values)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = "" if mark is None else f" line {mark.line + 1}, column {mark.column + 1}:"
        inside = f", in what begins in line {stack[-1].line}" if stack else ""
        raise FileRefused(f"{name} is not YAML:{where} {exc.problem}{inside}") from exc


def _take_keys_as_names(node: yaml.Node, seen: set[int]) -> None:
    """Have every key be read as a text, before merges put one mapping's into another.

    Raises:
        yaml.MarkedYAMLError: a key is no text, or stands twice in a mapping.
    """
    if id(node) in seen:  # what an alias repeats
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key is a name, not a list or a mapping", key)
            if key.tag != MERGE:
                if key.value in first:
                    _refuse(
                        f"the key {shown(key.value)} stands here again; it stands in line "
                        f"{first[key.value]} already",
                        key,
                    )
                assert key.start_mark is not None
                first[key.value] = key.start_mark.line + 1
                key.tag = "tag:yaml.org,2002:str"
            _take_keys_as_names(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _take_keys_as_names(each, seen)


def _refuse(problem: str, node: yaml.Node) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    """Of every value, the line of its key where it has one."""
    if not place:
        yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (*place, key.value), key.start_mark.line + 1
                yield from _lines(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*place, number), value.start_mark.line + 1
            yield from _lines(value, (*place, number))


class _Loader(_SafeLoader):
    """Values by YAML 1.2's core schema."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as exc:  # a date that there is not, or a number of 5,000 digits
            problem = f"{shown(node.value)} cannot be read: {exc}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from exc


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (
        "timestamp",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
        r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)?",
        "0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first)
    )
