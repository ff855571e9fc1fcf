"""Where a setting comes from, which source wins, and what each says when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cascade_server.config import SETTINGS, ServerConfig
from cascade_server.configuration.sources import Effective, Found, effective
from cascade_server.errors import ConfigError


def given(
    tmp_path: Path, file: str | None = None, name: str = "cascade.yaml", **more: Any
) -> Effective:
    """What holds, with a file of this content."""
    flags = more.pop("flags", {})
    path = None
    if file is not None:
        path = tmp_path / name
        path.write_text(file)
    return effective(flags, more.pop("environment", {}), path)


def refusal(tmp_path: Path, *arguments: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        given(tmp_path, *arguments, **more)
    return str(caught.value).replace(f"{tmp_path}/", "")


class TestPrecedence:
    """A flag comes before a variable, a variable before the file, the file before the default."""

    def test_nothing_is_the_default_server(self) -> None:
        found = effective({}, {})
        assert {each.source for each in found.found.values()} == {"default"}
        held = {**found.fields(), "repository": Path(found["repository"])}
        assert ServerConfig(**held) == ServerConfig()

    def test_each_overrides_the_next(self, tmp_path: Path) -> None:
        file = "port: 1\nworkers: 2\npool_mib: 3\n"
        environment = {"CASCADE_PORT": "4", "CASCADE_WORKERS": "5"}
        found = given(tmp_path, file, environment=environment, flags={"port": "6"})
        path = tmp_path / "cascade.yaml"
        assert found.found["port"] == Found(6, "--port")
        assert found.found["workers"] == Found(5, "CASCADE_WORKERS")
        assert found.found["pool_mib"] == Found(3, f"{path} line 3")
        assert found.found["cache_mib"] == Found(32, "default")

    def test_what_was_not_given_overrides_nothing(self, tmp_path: Path) -> None:
        flags = {each.name: () if each.kind is tuple else None for each in SETTINGS}
        environment = {each.variable: "" for each in SETTINGS}
        found = given(tmp_path, "port: 1\nserve: [a]", environment=environment, flags=flags)
        assert (found["port"], found["serve"]) == (1, ("a",))

    def test_none_takes_back_what_a_file_sets(self, tmp_path: Path) -> None:
        found = given(tmp_path, "metrics_port: 9464", flags={"metrics_port": "none"})
        assert found["metrics_port"] is None

    def test_a_variable_names_the_file(self, tmp_path: Path) -> None:
        for name, port in (("one.yaml", 1), ("other.yaml", 2)):
            (tmp_path / name).write_text(f"port: {port}")
        environment = {"CASCADE_CONFIG": str(tmp_path / "one.yaml")}
        assert effective({}, environment)["port"] == 1
        assert effective({}, environment, tmp_path / "other.yaml")["port"] == 2

    def test_fields_are_in_seconds_and_bytes(self) -> None:
        flags = {"linger_us": "50", "pool_mib": "1", "cache_timeout_ms": "7", "canary_share": "5%"}
        fields = effective(flags, {}).fields()
        assert (fields["linger_seconds"], fields["pool_bytes"]) == (5e-5, 2**20)
        assert (fields["cache_timeout_seconds"], fields["canary_share"]) == (0.007, 0.05)


class TestFiles:
    """YAML, and TOML by its suffix."""

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            ("port: 9\npool-mib: 0\nserve: ['a=1,3', b]\nrelease_control: off", "c.yaml"),
            ("port: 9\npool-mib: 0\nserve: a=1,3 b\nrelease_control: off", "without_a_suffix"),
            ('port = 9\npool-mib = 0\nserve = ["a=1,3", "b"]\nrelease_control = false', "c.toml"),
            ('{"port": 9, "pool_mib": 0, "serve": ["a=1,3", "b"], "release_control": false}', "j"),
        ],
    )
    def test_the_same_in_every_format(self, tmp_path: Path, content: str, name: str) -> None:
        found = given(tmp_path, content, name)
        assert (found["port"], found["pool_mib"]) == (9, 0)
        assert (found["serve"], found["release_control"]) == (("a=1,3", "b"), False)
        assert found.found["pool_mib"].source.startswith(str(tmp_path / name))

    @pytest.mark.parametrize("content", ["", "# port: 9\n", "{}"])
    def test_a_file_may_say_nothing(self, tmp_path: Path, content: str) -> None:
        assert given(tmp_path, content)["port"] == 8470

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("\nprot: 1", "cascade.yaml line 2: unknown setting 'prot'. Did you mean 'port'?"),
            ("pool: {mib: 3}", "line 1: unknown setting 'pool'. Did you mean 'pool_mib'?"),
            ("pool_bytes: 3", "unknown setting 'pool_bytes'. Did you mean 'pool_mib'?"),
            ("teacher_socket: /t", "unknown setting 'teacher_socket'"),
            ("no: 1", "line 1: unknown setting 'no'; docs/configuration.md lists them all"),
            ("port: http", "cascade.yaml line 1: port is 'http'; allowed: a whole number, 0 to 65"),
            ("pool-mib: -1", "line 1: pool-mib is -1; allowed: a whole number, 0 to 1048576 MiB"),
            ("port:\n", "cascade.yaml line 1: port is empty; allowed: a whole number, 0 to 65535"),
            ("port: 1\nport: 2", "cascade.yaml line 2, column 1: the key 'port' stands here again"),
            (
                "pool-mib: 1\npool_mib: 2",
                "cascade.yaml line 2: pool_mib was set in cascade.yaml line 1 already",
            ),
            ("serve: [credit=1,3]", "serve is ['credit=1', 3]; allowed: a list of TABLE[=POLICY]"),
            ("- port", "cascade.yaml is ['port']; allowed: settings, as in `port: 8470`"),
            ("port", "cascade.yaml is 'port'; allowed: settings"),
            ("port: [", "cascade.yaml is not YAML: line 2"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, content: str, said: str) -> None:
        assert said in refusal(tmp_path, content)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("port = ", "c.toml is not TOML: "),
            (
                "workers = 1\nprot = 2",
                "c.toml line 2: unknown setting 'prot'. Did you mean 'port'?",
            ),
            ("[pool]\nmib = 2", "c.toml line 1: unknown setting 'pool'"),
            ("# a remark\n\nport = 'x'", "c.toml line 3: port is 'x'"),
        ],
    )
    def test_likewise_in_toml(self, tmp_path: Path, content: str, said: str) -> None:
        assert said in refusal(tmp_path, content, "c.toml")

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path: Path) -> None:
        said = refusal(
            tmp_path,
            "port: x\nprot: 1",
            environment={"CASCADE_WORKERS": "0"},
            flags={"max_rows": "1e3"},
        )
        assert said.splitlines() == [
            "4 settings are not allowed:",
            "  cascade.yaml line 1: port is 'x'; allowed: a whole number, 0 to 65535",
            "  cascade.yaml line 2: unknown setting 'prot'. Did you mean 'port'?",
            "  CASCADE_WORKERS is '0'; allowed: a whole number, 1 to 256",
            "  --max-rows is '1e3'; allowed: a whole number, 1 to 16777216",
        ]

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read: No such file"):
            effective({}, {}, tmp_path / "nowhere.yaml")

    def test_a_bomb(self, tmp_path: Path) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        for level in range(1, 12):
            lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
        said = refusal(tmp_path, "\n".join(lines))
        assert "cascade.yaml line" in said
        assert "repeat more than 10,000 values" in said
        assert len(said) < 200

    def test_a_password_is_not_told(self, tmp_path: Path) -> None:
        said = refusal(tmp_path, "cache_url: [redis://me:sesame@host]")
        assert "cascade.yaml line 1: cache_url is" in said
        assert "sesame" not in said


class TestTheEnvironment:
    def test_what_is_nearly_a_setting_is_told_of(self) -> None:
        found = effective({}, {"CASCADE_POOL_MB": "0"})
        assert found.remarks == (
            "CASCADE_POOL_MB is no setting and has no effect; CASCADE_POOL_MIB is one",
        )

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("CASCADE_ACCESS_FILE", "CASCADE_ACCESS"),
            ("CASCADE_ACCESS_CONFIG", "CASCADE_ACCESS"),
            ("CASCADE_TLS_CERT", "CASCADE_TLS_CERTIFICATE"),
            ("CASCADE_TLS_CERT_FILE", "CASCADE_TLS_CERTIFICATE"),
            ("CASCADE_TLS_KEY_PATH", "CASCADE_TLS_KEY"),
            ("CASCADE_TLS_CLIENT_CA_FILE", "CASCADE_TLS_CLIENT_CA"),
            ("CASCADE_POLICY_FILE", "CASCADE_POLICY"),
            ("CASCADE_METRICS", "CASCADE_METRICS_PORT"),
            ("CASCADE_OTLP", "CASCADE_OTLP_ENDPOINT"),
        ],
    )
    def test_so_is_one_with_a_word_too_many_or_too_few(self, written: str, meant: str) -> None:
        """Who believes that callers are asked who they are is told that they are not."""
        assert effective({}, {written: "x"}).remarks == (
            f"{written} is no setting and has no effect; {meant} is one",
        )

    def test_what_kubernetes_says_of_its_services_is_none_of_them(self) -> None:
        links = {
            f"CASCADE{name}_{what}": "1"
            for name in ("", "_METRICS", "_ACCESS", "_WORKERS")
            for what in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT_8470_TCP")
        }
        links |= {f"CASCADE_PORT_8470_TCP_{what}": "1" for what in ("PROTO", "PORT", "ADDR")}
        assert effective({}, links).remarks == ()

    def test_what_others_use_is_not(self) -> None:
        others = {"CASCADE_TARGET": "a:1", "CASCADE_DATA": "/d", "CASCADE_SERVICE_HOST": "10.0.0.1"}
        assert effective({}, {**others, "CASCADE_SERVICE_PORT_GRPC": "1"}).remarks == ()

    def test_what_kubernetes_says_of_a_service_called_cascade_is_no_port(self) -> None:
        assert effective({}, {"CASCADE_PORT": "tcp://10.0.0.1:8470"})["port"] == 8470
