"""The `cascade` program: it lists its commands without importing them, and says what is missing."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points, metadata, version
from types import ModuleType

import pytest
from cascade_cli import program as cli
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

COMMANDS = ["fit", "distill", "evaluate", "release", "configure", "compile"]
COMMANDS += ["serve", "ask", "jobs", "access", "audit", "releases"]
COMMANDS += ["health", "sla", "cost", "size", "slo"]
HEAVY = ["torch", "onnxruntime", "grpc", "pandas", "pyarrow", "sklearn", "rich"]

Entries = dict[str, str]
Install = Callable[[Entries], None]


def run(*args: str) -> Result:
    return CliRunner().invoke(cli.main, args, prog_name="cascade")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretend that these entry points, by name, are installed beside the real ones."""

    def pretend(entries: Entries) -> None:
        more = [EntryPoint(name, value, cli.GROUP) for name, value in entries.items()]
        real = list(entry_points(group=cli.GROUP))
        monkeypatch.setattr(cli, "entry_points", lambda group: [*real, *more])

    return pretend


class TestHelp:
    @pytest.mark.parametrize("args", [("--help",), ("-h",), ()])
    def test_commands_are_listed_in_the_order_a_user_meets_them(self, args: tuple[str]) -> None:
        lines = run(*args).output.split("Commands:\n")[1].splitlines()
        assert [line.split()[0] for line in lines] == COMMANDS
        assert [line.split(maxsplit=1)[1] for line in lines] == list(cli.SUMMARIES.values())

    def test_nothing_heavy_is_imported(self) -> None:
        """A subprocess, since other tests have imported everything."""
        code = (
            "import sys\n"
            "from cascade_cli.program import main\n"
            "main(['--help'], standalone_mode=False)\n"
            f"print([name for name in {HEAVY} if name in sys.modules])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert "Measure how close synthetic rows are to real ones." in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"

    def test_version(self) -> None:
        assert run("--version").output == f"cascade, version {version('cascade-synthesis')}\n"

    def test_other_packages_commands_follow(self, install: Install) -> None:
        install({"zebra": "zebra:main", "apple": "apple:main"})
        listed = run("--help").output.split("Commands:\n")[1].split()
        assert listed.index("ask") < listed.index("apple") < listed.index("zebra")


class TestCommands:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_listed_command_is_there(self, command: str) -> None:
        result = run(command, "--help")
        assert result.exit_code == 0
        assert result.output.startswith(f"Usage: cascade {command} ")

    @pytest.mark.parametrize("command", ["servee", "train", "-"])
    def test_an_unknown_command_is_named_beside_those_there_are(self, command: str) -> None:
        result = run(command)
        assert result.exit_code == 2
        assert f"no command {command!r}" in result.output
        assert f"the commands are: {', '.join(COMMANDS)}." in result.output

    def test_the_nearest_command_is_offered(self) -> None:
        assert "Did you mean 'serve'?" in run("servee").output

    def test_an_unknown_option_is_named(self) -> None:
        result = run("--colour")
        assert result.exit_code == 2
        assert "No such option" in result.output
        assert "--colour" in result.output

    def test_completion_offers_commands_and_survives_unknown_ones(self) -> None:
        complete = ShellComplete(cli.main, {}, "cascade", "_CASCADE_COMPLETE")
        assert [item.value for item in complete.get_completions([], "rel")] == [
            "release",
            "releases",
        ]
        assert complete.get_completions(["nothing"], "x") == []


class TestNotInstalled:
    @pytest.fixture(autouse=True)
    def packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Modules of each package whose import needs something that is not there."""

        class Needy(ModuleType):
            def __getattr__(self, name: str) -> object:
                raise ModuleNotFoundError("No module named 'torch_'", name="torch_")

        for package in ("cascade_distill", "cascade_server", "cascade_client"):
            monkeypatch.setitem(sys.modules, f"{package}.needy", Needy(f"{package}.needy"))

    @pytest.mark.parametrize(
        ("package", "extra"),
        [
            ("cascade_distill", "cascade-synthesis[distill]"),
            ("cascade_server", "cascade-synthesis[server]"),
            ("cascade_client", "cascade-synthesis"),
        ],
    )
    def test_it_says_what_to_install(self, install: Install, package: str, extra: str) -> None:
        install({"needy": f"{package}.needy:command"})
        result = run("needy", "--option")
        assert result.exit_code == 1
        assert result.output == (
            "Error: `cascade needy` needs the Python package 'torch_', which is not installed; "
            f"run: pip install '{extra}'\n"
        )

    def test_it_is_still_listed(self, install: Install) -> None:
        install({"needy": "cascade_distill.needy:command"})
        assert "needy" in run("--help").output

    def test_a_package_that_is_missing_altogether(self, install: Install) -> None:
        install({"needy": "nowhere_at_all.commands:command"})
        result = run("needy")
        assert "needs the Python package 'nowhere_at_all', which is not installed" in result.output

    def test_every_extra_exists(self) -> None:
        extras = metadata("cascade-synthesis").get_all("Provides-Extra") or []
        assert set(cli.EXTRAS.values()) <= set(extras)


def test_nothing_is_collected_while_a_command_is_imported() -> None:
    collects = gc.isenabled()
    with suppress(ModuleNotFoundError), cli.uncollected():
        assert not gc.isenabled()
        raise ModuleNotFoundError
    assert gc.isenabled() == collects
