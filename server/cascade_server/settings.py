"""Declares settings: options, environment variables, keys of files and docs come from one place.

A setting is a field of `ServerConfig` (config.py) that is declared with `setting`. To add one, add
a field to the section that it belongs to:

    max_headers: int = setting(100, "Headers that a call may have.", low=1, high=1000)

This is `--max-headers`, `CASCADE_MAX_HEADERS` and `max_headers:` in a file, with its type from the
annotation and its range checked wherever it comes from, a line of `--help` and of `--print-config`,
and, once `make configuration` was run, a row of docs/configuration.md.

Fields are in seconds and bytes. Where people write another unit, the setting's name says which:

    pool_bytes: int = setting(64, "Memory for ...", name="pool_mib", unit=MIB, low=0, high=2**20)

The default and the range are then in that unit, as people write it. A field of type `T | None` is
optional: `none` is allowed, and is what it is where nothing is said. What a process decides for
itself is a field like any other, without `setting`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from cascade_tables.errors import listing, shown

from cascade_server.addresses import without_password
from cascade_server.errors import ConfigError

_KEY = "setting"
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True}
_BOOLEANS |= {"false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Unit:
    """The unit in which people write a setting, and its conversion to what the field holds.

    Attributes:
        name: in messages.
        times, per: the field holds the number multiplied by `times` or divided by `per`; one of
            the two is 1. (200 / 1e6 is the float nearest to 200 microseconds, 200 * 1e-6 is not.)
    """

    name: str = ""
    times: int = 1
    per: float = 1

    def held(self, number: Any) -> Any:
        """The field's value for a number in this unit."""
        return number * self.times if self.per == 1 else number / self.per


SECONDS = Unit("s")
MILLISECONDS = Unit("ms", per=1e3)
MICROSECONDS = Unit("µs", per=1e6)
BYTES = Unit("bytes")
MIB = Unit("MiB", times=2**20)
DAYS = Unit("days", times=86_400)
SHARE = Unit("as in 5% or 0.05")
ONE = Unit()


@dataclass(frozen=True)
class Setting:
    """One setting. All values of its methods are as people write them, but for `held`.

    Attributes:
        name: in a file; flag and variable are made of it.
        field: of `ServerConfig`.
        kind: int, float, bool, str, Path, or tuple for a list of texts.
        optional: whether None is allowed.
        default: what it is where nobody says anything.
        help: what it does, a sentence or two.
        section: the heading that it stands under.
        low, high: the range of a number; None: any.
        choices: of a text, where there are few.
        unit: of a number.
        metavar: what `--help` calls the value; "": what its kind is called.
        secret: whether it may have a password in it, which is never shown.
        check: refuses what is not allowed beyond that, with a ConfigError whose message begins with
            the field's name.
    """

    name: str
    field: str
    kind: type
    optional: bool
    default: Any
    help: str
    section: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: Unit = ONE
    metavar: str = ""
    secret: bool = False
    check: Callable[[Any], object] | None = None

    @property
    def flag(self) -> str:
        """The setting's name as an option of `cascade serve`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The setting's name as an environment variable."""
        return "CASCADE_" + self.name.upper()

    @property
    def range(self) -> str:
        """Of a number, as a message says it; "" for what is no number."""
        if self.low is None or self.high is None:
            return ""
        unit = f" {self.unit.name}" if self.unit.name and self.unit is not SHARE else ""
        return f"{plain(self.low)} to {plain(self.high)}{unit}"

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        kinds = {
            int: "a whole number",
            float: "a share, " + SHARE.name if self.unit is SHARE else "a number",
            bool: "true or false",
            str: "a text",
            Path: "a path",
            tuple: f"a list of {self.metavar or 'texts'}, in quotes where one has a comma",
        }
        parts = [listing(self.choices) if self.choices else kinds[self.kind], self.range]
        return ", ".join(part for part in parts if part) + (", or none" if self.optional else "")

    def shown(self, value: Any) -> str:
        """A value for a message, without its password and not too long."""
        if value is None or value == "":
            return "empty"
        return shown(self.without_secret(value) if self.secret else value)

    def without_secret(self, value: Any) -> str:
        """A value of a setting that may have a password in it, as it may be shown."""
        text = str(value)
        is_path = "URL" in self.metavar.split("|") and "://" not in text
        return text if is_path else without_password(text)

    def read(self, value: Any, source: str) -> Any:
        """A value of its kind, from text or from what a file holds.

        Args:
            value: as it was given.
            source: where, as a message says it: "--port", "CASCADE_PORT", "cascade.yaml line 3:
                port".

        Raises:
            ConfigError: it is not allowed; names the source, the value, and what is.
        """
        try:
            found = self._of_kind(value)
        except (TypeError, ValueError, LookupError, OverflowError) as exc:
            raise self._refused(source, value) from exc
        if found is None:
            return None
        self._check(found, source, value, ONE)
        return found

    def check_held(self, value: Any) -> None:
        """Refuse what a field may not hold.

        Raises:
            ConfigError: names the field, its value and what is allowed.
        """
        if value is None:
            if self.optional:
                return
            raise self._refused(self.field, value)
        try:
            self._check(value, self.field, value, self.unit)
        except TypeError as exc:  # no number, where one is asked for
            raise self._refused(self.field, value) from exc

    def _check(self, value: Any, source: str, given: Any, unit: Unit) -> None:
        if self.choices and value not in self.choices:
            raise self._refused(source, given)
        if self.low is not None and self.high is not None:
            low, high = unit.held(self.low), unit.held(self.high)
            if not low <= value <= high:
                allowed = self.allowed if unit is ONE else f"{plain(low)} to {plain(high)}"
                raise ConfigError(f"{source} is {self.shown(given)}; allowed: {allowed}")
        if self.check is not None:
            try:
                self.check(value)
            except ConfigError as exc:
                # Its message begins with the setting's name, in whose place the source says more.
                raise ConfigError(source + str(exc).removeprefix(self.field)) from exc

    def _refused(self, source: str, value: Any) -> ConfigError:
        return ConfigError(f"{source} is {self.shown(value)}; allowed: {self.allowed}")

    def _of_kind(self, value: Any) -> Any:
        """Raises TypeError, ValueError, LookupError or OverflowError for what is not its kind."""
        if self.optional and (value is None or (isinstance(value, str) and value == "none")):
            return None
        if self.kind is bool:
            return value if isinstance(value, bool) else _BOOLEANS[_text(value).strip().lower()]
        if value is None or isinstance(value, bool):
            raise TypeError
        if self.kind is tuple:
            each = value.split() if isinstance(value, str) else list(value)
            return tuple(_text(one) for one in each)
        if self.kind is int:
            return int(value) if isinstance(value, str) else _whole(value)
        if self.kind is float:
            text = value.strip() if isinstance(value, str) else ""
            if self.unit is SHARE and text.endswith("%"):
                return float(text[:-1]) / 100
            return float(value)
        text = str(value) if type(value) is int else _text(value)
        if not text.strip():
            raise ValueError
        return Path(text) if self.kind is Path else text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def plain(value: float) -> str:
    """A number as people write it: 3600 rather than 3600.0."""
    return str(int(value)) if value == int(value) else repr(value)


def setting(
    default: Any,
    help: str,
    *,
    section: str = "",
    name: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    unit: Unit = ONE,
    metavar: str = "",
    secret: bool = False,
    check: Callable[[Any], object] | None = None,
    kind: type | None = None,
) -> Any:
    """A field that people may set; see the module's docstring, and `Setting` for the arguments.

    Args:
        section: of this field and those that follow; "": that of the field before.
        name: where it is not the field's.
        kind: what people write, where the field is of another type.
    """
    held = unit.held(default) if unit is not ONE and default is not None else default
    declared = {
        "name": name,
        "kind": kind,
        "default": default if kind is None else kind(default),
        "help": help,
        "section": section,
        "low": low,
        "high": high,
        "choices": tuple(choices),
        "unit": unit,
        "metavar": metavar,
        "secret": secret,
        "check": check,
    }
    return field(default=held, metadata={_KEY: declared})


def settings_of(config: type) -> tuple[Setting, ...]:
    """The settings of a dataclass, in the order in which they are declared."""
    hints = get_type_hints(config)
    found: list[Setting] = []
    for each in fields(config):
        if _KEY not in each.metadata:
            continue
        given = dict(each.metadata[_KEY])
        kinds = _kinds(hints[each.name])
        given["kind"] = given["kind"] or kinds[0]
        given["name"] = given["name"] or each.name
        given["section"] = given["section"] or found[-1].section
        found.append(Setting(field=each.name, optional=types.NoneType in kinds, **given))
    return tuple(found)


def _kinds(hint: Any) -> list[type]:
    """Of an annotation: `tuple[str, ...]` is a tuple, `int | None` an int or None."""
    if get_origin(hint) is types.UnionType:
        return [each for part in get_args(hint) for each in _kinds(part)]
    return [get_origin(hint) or hint]


def by_name(settings: Iterable[Setting]) -> dict[str, Setting]:
    """Settings by the names that they have in a file."""
    return {each.name: each for each in settings}
