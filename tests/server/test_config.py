"""Settings are declared once, and checked: an error names the setting, its value and what is
allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from cascade_server.config import SETTINGS, ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.settings import (
    MIB,
    MICROSECONDS,
    ONE,
    SHARE,
    Setting,
    plain,
    setting,
    settings_of,
)

# What the processes of a server are told by the one that starts them.
INTERNAL = {"reuse_port", "teacher_socket", "await_teacher", "versions"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 70_000}, "port is 70000; allowed: a whole number, 0 to 65535"),
        ({"port": -1}, "port is -1; allowed: a whole number, 0 to 65535"),
        ({"port": None}, "port is empty; allowed: a whole number, 0 to 65535"),
        ({"host": None}, "host is empty; allowed: a text"),
        ({"port": "http"}, "port is 'http'; allowed: a whole number, 0 to 65535"),
        ({"workers": 0}, "workers is 0; allowed: a whole number, 1 to 256"),
        ({"transport": "quic"}, "transport is 'quic'; allowed: http2, grpcio"),
        ({"teacher_threads": 0}, "teacher_threads is 0; allowed: a whole number, 1 to 1024"),
        ({"max_rows": 0}, "max_rows is 0"),
        ({"chunk_rows": 0}, "chunk_rows is 0"),
        ({"max_message_bytes": 1}, "max_message_bytes is 1; allowed: 1024 to"),
        ({"drain_seconds": -0.5}, "drain_seconds is -0.5; allowed: 0 to 3600"),
        ({"drain_seconds": float("nan")}, "drain_seconds is nan; allowed: 0 to 3600"),
        ({"max_connection_age": 0}, "max_connection_age is 0; allowed: 1 to 2592000"),
        ({"canary_share": 0.6}, "canary_share is 0.6; allowed: 0 to 0.5"),
        ({"linger_seconds": 0.011}, "linger_seconds is 0.011; allowed: 0 to 0.01"),
        ({"pool_bytes": -1}, "pool_bytes is -1; allowed: 0 to 1099511627776"),
        ({"pool_age_seconds": 0}, "pool_age_seconds is 0; allowed: 1 to 2592000"),
        ({"pool_max_reuse": 0}, "pool_max_reuse is 0; allowed: a whole number, 1 to"),
        ({"cache_bytes": -1}, "cache_bytes is -1; allowed: 0 to"),
        ({"cache_age_seconds": 0}, "cache_age_seconds is 0; allowed: 1 to 2592000"),
        ({"cache_timeout_seconds": 0}, "cache_timeout_seconds is 0; allowed: 0.0001 to 60"),
        ({"executor": "ray"}, "executor is 'ray'; allowed: local, or ray://HOST:PORT"),
        (
            {"executor": "ray://head"},
            "executor is 'ray://head'; allowed: local, or ray://HOST:PORT",
        ),
        ({"executor": "ray://:10001"}, "executor is 'ray://:10001'; allowed: local"),
        ({"executor": "ray://head:0"}, "executor is 'ray://head:0'; allowed: local"),
    ],
)
def test_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ServerConfig(**settings)


class TestDeclarations:
    """Every field that people may set is declared, in full."""

    def test_every_field_is_a_setting_or_the_processes_own(self) -> None:
        declared = {each.field for each in SETTINGS}
        assert declared | INTERNAL == {each.name for each in fields(ServerConfig)}
        assert not declared & INTERNAL

    def test_names_are_used_once(self) -> None:
        for of in ("name", "flag", "variable", "field"):
            names = [getattr(each, of) for each in SETTINGS]
            assert len(set(names)) == len(names)

    @pytest.mark.parametrize("each", SETTINGS, ids=lambda each: each.name)
    def test_each_says_what_it_is_for(self, each: Setting) -> None:
        assert len(each.help.split()) >= 4
        assert each.help.endswith(".")
        assert each.section
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", each.name)

    @pytest.mark.parametrize("each", SETTINGS, ids=lambda each: each.name)
    def test_each_is_what_its_field_is(self, each: Setting) -> None:
        """A number has a range; its default is in it, and what the field holds is its default."""
        if each.kind in (int, float):
            assert each.range
        read = each.read(each.default, "its default")
        assert read == each.default
        held = read if read is None or not each.range else each.unit.held(read)
        assert getattr(ServerConfig(), each.field) == (
            Path(held) if each.name == "repository" else held
        )

    def test_the_default_server_has_a_pool_and_a_cache(self) -> None:
        assert ServerConfig().pool_bytes == 64 * 2**20
        assert ServerConfig().cache_bytes == 32 * 2**20

    def test_one_field_is_all_that_a_new_setting_takes(self) -> None:
        @dataclass
        class Config:
            most: int = setting(16, "Most of them.", section="Some", low=1, high=20)
            size_bytes: int | None = setting(2, "Their size.", name="size_mib", unit=MIB)

        most, size = settings_of(Config)
        assert (most.flag, most.variable, most.kind) == ("--most", "CASCADE_MOST", int)
        assert (size.flag, size.section, size.optional) == ("--size-mib", "Some", True)
        assert Config() == Config(16, 2 * 2**20)


def made(kind: type, **more: Any) -> Setting:
    given = {"optional": False, "default": None, "help": "", "section": "", **more}
    return Setting(name="it", field="it", kind=kind, **given)


NUMBER = made(float, low=0, high=10)
WHOLE = made(int, low=0, high=10)


class TestReading:
    """What text and files may say, by kind."""

    @pytest.mark.parametrize(
        ("of", "given", "value"),
        [
            (WHOLE, "7", 7),
            (WHOLE, 7, 7),
            (NUMBER, "1e-3", 1e-3),
            (NUMBER, 2, 2.0),
            (made(float, unit=SHARE, low=0, high=1), "5%", 0.05),
            (made(float, unit=SHARE, low=0, high=1), 0.05, 0.05),
            (made(bool), True, True),
            (made(bool), "Off", False),
            (made(bool), "1", True),
            (made(str), "text", "text"),
            (made(str), 3, "3"),
            (made(Path), "a/b", Path("a/b")),
            (made(Path, optional=True), "none", None),
            (made(int, optional=True, low=0, high=9), None, None),
            (made(tuple), "a=1,3  b", ("a=1,3", "b")),
            (made(tuple), ["a", "b c"], ("a", "b c")),
            (made(tuple), [], ()),
        ],
    )
    def test_values(self, of: Setting, given: Any, value: Any) -> None:
        found = of.read(given, "--it")
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        ("of", "given", "said"),
        [
            (WHOLE, "x", "--it is 'x'; allowed: a whole number, 0 to 10"),
            (WHOLE, 1.0, "--it is 1.0; allowed: a whole number"),
            (WHOLE, True, "--it is True; allowed: a whole number"),
            (WHOLE, None, "--it is empty; allowed: a whole number"),
            (WHOLE, "11", "--it is '11'; allowed: a whole number, 0 to 10"),
            (WHOLE, "1" * 9999, "--it is '111111111111111111111111"),
            (NUMBER, "nan", "--it is 'nan'; allowed: a number, 0 to 10"),
            (NUMBER, 10**400, "--it is 1000"),
            (NUMBER, [1], "--it is [1]; allowed: a number"),
            (made(float, unit=MICROSECONDS, low=0, high=5), "6", "0 to 5 µs"),
            (
                made(float, unit=SHARE, low=0, high=0.5),
                "60%",
                "a share, as in 5% or 0.05, 0 to 0.5",
            ),
            (made(bool), "maybe", "--it is 'maybe'; allowed: true or false"),
            (made(bool), 1, "--it is 1; allowed: true or false"),
            (made(str), True, "--it is True; allowed: a text"),
            (made(str), {"a": 1}, "--it is {'a': 1}; allowed: a text"),
            (made(str, choices=("a", "b")), "c", "--it is 'c'; allowed: a, b"),
            (made(Path), " ", "--it is ' '; allowed: a path"),
            (made(Path, optional=True), 1.5, "--it is 1.5; allowed: a path, or none"),
            (made(tuple), ["a", 3], "--it is ['a', 3]; allowed: a list of texts, in quotes"),
            (made(tuple), 3, "--it is 3; allowed: a list"),
        ],
    )
    def test_refusals(self, of: Setting, given: Any, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            of.read(given, "--it")
        assert said in str(caught.value)
        assert len(str(caught.value)) < 200

    def test_a_check_of_its_own_says_where_the_value_comes_from(self) -> None:
        (runtime,) = (each for each in SETTINGS if each.name == "runtime")
        with pytest.raises(ConfigError, match=r"^CASCADE_RUNTIME is 'gpu'; allowed: auto, cpu"):
            runtime.read("gpu", "CASCADE_RUNTIME")

    @pytest.mark.parametrize(
        "url",
        [
            "redis://me:sesame@host:1/0",
            "redis://:ses/ame@host",
            "redis://me:ses@ame@host",
            "sesame@host",
            "redis://host/0?password=sesame&db=1",
        ],
    )
    def test_a_secret_is_never_shown(self, url: str) -> None:
        of = made(str, secret=True, choices=("x",))
        with pytest.raises(ConfigError) as caught:
            of.read(url, "--it")
        assert "host" in str(caught.value)
        assert "ame" not in str(caught.value)

    def test_outputs_that_callers_are_told_of_have_no_password(self) -> None:
        url = "postgresql://svc:ses/ame@db/x"
        with pytest.raises(
            ConfigError, match=r"^job_outputs: postgresql://svc... was given"
        ) as exc:
            ServerConfig(job_outputs=("/data", url))
        assert "ame" not in str(exc.value).replace("name", "")
        ServerConfig(job_outputs=("/data", "postgresql://svc@db/x", "s3://bucket/a"))

    def test_units(self) -> None:
        assert (MICROSECONDS.held(200.0), MIB.held(64), ONE.held(3)) == (2e-4, 2**26, 3)
        assert [plain(each) for each in (3600.0, 0.1, 5)] == ["3600", "0.1", "5"]
