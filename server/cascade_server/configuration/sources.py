"""Settings from flags, the environment, a file and their defaults; the first that has one wins.

All that is wrong is said at once, each with where it stands, so that a file is mended in one go.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused, shown

from cascade_server.config import SETTINGS
from cascade_server.errors import ConfigError
from cascade_server.settings import Setting, by_name

# The variable that names the file, beside those of the settings.
FILE_VARIABLE = "CASCADE_CONFIG"
DEFAULT = "default"

NAMES = by_name(SETTINGS)
_VARIABLES = {each.variable: each for each in SETTINGS}
_FIELDS = {each.field: each.name for each in SETTINGS}
NO_CHECKS: Mapping[str, Callable[[Any], object]] = {}
# What Kubernetes puts into the environment of pods beside a service that is called `cascade`, or
# `cascade-` and something: values, and names that are no setting's.
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
_OF_A_SERVICE = re.compile(r"_SERVICE_(?:HOST|PORT(?:_.+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_.+)?$")
# A word may be cut short by who writes it, to so many letters at least: CERT for CERTIFICATE.
_LETTERS = 3


@dataclass(frozen=True)
class Found:
    """A setting's value, as people write it.

    Attributes:
        value: of the setting's kind.
        source: where it comes from: "--port", "CASCADE_PORT", "cascade.yaml line 3" or "default".
    """

    value: Any
    source: str


@dataclass(frozen=True)
class Effective:
    """What holds.

    Attributes:
        found: by the setting's name, in the order of `SETTINGS`.
        remarks: for the person at the terminal: what looks like a mistake, and is none.
    """

    found: Mapping[str, Found]
    remarks: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.found[name].value

    def fields(self) -> dict[str, Any]:
        """What `ServerConfig` takes: by field, in seconds and bytes."""
        return {
            each.field: value if value is None or not each.range else each.unit.held(value)
            for each in SETTINGS
            for value in (self.found[each.name].value,)
        }


def effective(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None = None,
    checks: Mapping[str, Callable[[Any], object]] = NO_CHECKS,
) -> Effective:
    """What holds of what was given.

    Args:
        flags: by the setting's name; None, or an empty list: not given.
        environment: of the process. A variable that is empty is not set.
        file: YAML, or TOML by its suffix; None: `CASCADE_CONFIG` may name one.
        checks: by the setting's name, what refuses, with a ConfigError, what rooms above this one
            cannot do with.

    Raises:
        ConfigError: something is not allowed; names all that is, each with its source.
    """
    wrong: list[str] = []
    found = {each.name: Found(each.default, DEFAULT) for each in SETTINGS}

    def take(setting: Setting, value: Any, source: str, said: str) -> None:
        try:
            found[setting.name] = Found(setting.read(value, said), source)
        except ConfigError as exc:
            wrong.append(str(exc))
            return
        try:
            checks.get(setting.name, bool)(found[setting.name].value)
        except ConfigError as exc:
            wrong.append(f"{said}: {exc}")

    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    if file is not None:
        seen: dict[str, str] = {}
        for key, value, where in _content(file):
            name = key.replace("-", "_")
            if name not in NAMES:
                wrong.append(f"{where}: unknown setting {shown(key)}{nearest(name)}")
            elif name in seen:
                wrong.append(f"{where}: {key} was set in {seen[name]} already")
            else:
                seen[name] = where
                take(NAMES[name], value, where, f"{where}: {key}")
    for variable, setting in _VARIABLES.items():
        value = environment.get(variable)
        if value and not _SERVICE_LINK.match(value):
            take(setting, value, variable, variable)
    for name, value in flags.items():
        if value is not None and value != ():
            take(NAMES[name], value, NAMES[name].flag, NAMES[name].flag)
    if wrong:
        many = f"{len(wrong)} settings are not allowed:\n  " if len(wrong) > 1 else ""
        raise ConfigError(many + "\n  ".join(wrong))
    return Effective(found, tuple(_remarks(environment)))


def nearest(name: str) -> str:
    """A hint at the setting that may be meant; "": nothing is like it."""
    if name in _FIELDS:
        close = [_FIELDS[name]]
    else:
        close = get_close_matches(name[:64], NAMES, n=1) or [
            each for each in NAMES if name and each.startswith(name)
        ]
    return f". Did you mean {close[0]!r}?" if close else "; docs/configuration.md lists them all"


def _remarks(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables that are nearly a setting's. Others may be anybody's, Kubernetes's for one."""
    for variable in environment:
        if not variable.startswith("CASCADE_") or _OF_A_SERVICE.search(variable):
            continue
        if variable not in (*_VARIABLES, FILE_VARIABLE):
            related = [each for each in _VARIABLES if _begin_alike(variable[:64], each)]
            close = get_close_matches(variable[:64], _VARIABLES, n=1, cutoff=0.85)
            close = close or get_close_matches(variable[:64], related, n=1, cutoff=0.0)
            if close:
                yield f"{shown(variable)[1:-1]} is no setting and has no effect; {close[0]} is one"


def _begin_alike(one: str, other: str) -> bool:
    """Whether of two names one is how the other begins, word by word; a word may be cut short.

    What has a word too many, as CASCADE_ACCESS_FILE, or too few, is hardly anybody else's.
    """
    return all(
        first == second
        or (
            min(len(first), len(second)) >= _LETTERS
            and (first.startswith(second) or second.startswith(first))
        )
        for first, second in zip(one.split("_"), other.split("_"), strict=False)
    )


def _content(path: Path) -> list[tuple[str, Any, str]]:
    """Keys, values, and where each stands.

    Raises:
        ConfigError: the file cannot be read, or is not one of settings.
    """
    from cascade_tables.yaml_files import load_yaml_with_lines, read_text

    try:
        if path.suffix.lower() == ".toml":
            text = read_text(path)
            content: Any = tomllib.loads(text)
            lines = _toml_lines(text, content)
        else:
            content, places = load_yaml_with_lines(path)
            lines = {str(place[0]): line for place, line in places.items() if len(place) == 1}
    except FileRefused as exc:
        raise ConfigError(str(exc)) from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError(f"{path} is not TOML: {exc}") from exc
    if content is None:
        return []
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} is {shown(content)}; allowed: settings, as in `port: 8470`")
    return [
        (key, value, f"{path} line {lines[key]}" if key in lines else str(path))
        for key, value in content.items()
    ]


def _toml_lines(text: str, content: Mapping[str, Any]) -> dict[str, int]:
    """Of keys at the top, which TOML's reader does not tell: the first line that begins so."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key = re.split(r"[=.\]]", line.strip().lstrip("["), maxsplit=1)[0].strip().strip("'\"")
        if key in content:
            lines.setdefault(key, number)
    return lines
