"""The Dockerfiles, as far as can be told without a container engine."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cascade_server.config import ServerConfig
from cascade_server.configuration.sources import effective
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.images import ROOT, Stage, stages
from tests.releases import make_release
from tests.server.running import running

SERVER = stages(ROOT / "Dockerfile")
FILES = {
    "Dockerfile": SERVER,
    "deploy/models.Dockerfile": stages(ROOT / "deploy/models.Dockerfile"),
}
IMAGES = ("cpu", "gpu")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
}
HADOLINT = Path(sys.executable).with_name("hadolint")


def python_of(image: str) -> str:
    """The Python that an image has, as exactly as the Dockerfile says it."""
    base = SERVER[f"{image}-python"]
    named = [base.base, *base.all("RUN")]
    return next(m[1] for each in named if (m := re.search(r"python:?(3\.[\d.]+)", each)))


@pytest.mark.parametrize("file", FILES)
def test_bases_are_exact(file: str) -> None:
    for stage in FILES[file].values():
        if stage.base not in FILES[file]:
            assert re.fullmatch(r"[\w./-]+(:\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})", stage.base)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint has no wheel for this machine")
def test_hadolint_has_nothing_to_say(file: str) -> None:
    done = subprocess.run([HADOLINT, ROOT / file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_build_that_names_no_target_is_the_cpus() -> None:
    assert list(SERVER)[-1] == "cpu"
    assert "gpu" in SERVER


def test_both_images_are_run_alike() -> None:
    for instruction in ("USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT"):
        assert SERVER["cpu"].one(instruction) == SERVER["gpu"].one(instruction)
    cpu, gpu = (re.split("CMD", SERVER[image].one("HEALTHCHECK"))[1] for image in IMAGES)
    assert cpu == gpu


@pytest.mark.parametrize("image", IMAGES)
def test_nobody_is_root(image: str) -> None:
    stage = SERVER[image]
    assert int(stage.one("USER")) > 0
    assert f"--uid {stage.one('USER')} " in stage.one("RUN")
    assert [name for name, _ in stage.steps].index("USER") > [
        at for at, (name, _) in enumerate(stage.steps) if name in ("RUN", "COPY")
    ][-1]
    # What a supervisor answers by draining.
    assert stage.one("STOPSIGNAL") == "SIGTERM"


def test_every_package_is_in_the_wheel() -> None:
    """One that is not copied is left out without a word; no server loads others."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    roots = {Path(each).parts[0] for each in wheel["wheel"]["packages"]} - {"loadtest"}
    copied = {each.split()[0] for each in SERVER["wheel"].all("COPY")}
    assert roots <= copied


@pytest.mark.parametrize("file", FILES)
def test_what_is_copied_is_there(file: str) -> None:
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text().split()
        if not line.startswith("!") and f"!{line}" not in line
    ]
    kept = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    seen: set[str] = set()
    for name, stage in FILES[file].items():
        for copy in stage.all("COPY"):
            *sources, _ = copy.split()
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in seen
                continue
            for source in sources:
                assert (ROOT / source).exists(), source
                if source not in kept:
                    assert not any(fnmatch.fnmatch(source, each) for each in ignored), source
        seen.add(name)


class TestWhatIsInstalled:
    """The extras of pyproject.toml, at the versions of constraints.txt."""

    @pytest.fixture
    def required(self, tmp_path: Path) -> dict[str, list[Requirement]]:
        """What the build's own program makes of pyproject.toml."""
        return self.made(tmp_path)

    def made(self, folder: Path, **arguments: str) -> dict[str, list[Requirement]]:
        """The same of a build with arguments.

        Raises:
            subprocess.CalledProcessError: the build ends there.
        """
        stage = SERVER["requirements"]
        defaults = dict(each.split("=", 1) for each in stage.all("ARG"))
        assert set(arguments) <= set(defaults)
        given = {name: value.strip('"') for name, value in defaults.items()} | arguments
        (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
        program = stage.one("RUN").replace("python -c", f"{sys.executable} -c", 1)
        subprocess.run(
            ["sh", "-c", program], cwd=folder, check=True, env=given, capture_output=True, text=True
        )
        return {
            image: [
                Requirement(line) for line in (folder / f"{image}.txt").read_text().splitlines()
            ]
            for image in IMAGES
        }

    @pytest.mark.parametrize("image", IMAGES)
    def test_a_job_can_be_made_and_written_to_a_store(
        self, required: dict[str, list[Requirement]], image: str
    ) -> None:
        assert {"pyarrow", "fsspec", "redis"} <= {each.name for each in required[image]}

    @pytest.mark.parametrize("image", IMAGES)
    def test_tokens_can_be_verified(
        self, required: dict[str, list[Requirement]], image: str
    ) -> None:
        """Of `access.yaml`'s issuers: an image is where callers that are strangers are served."""
        assert {"pyjwt", "cryptography"} <= {each.name for each in required[image]}

    @pytest.mark.parametrize("image", IMAGES)
    def test_who_builds_one_may_name_more(self, tmp_path: Path, image: str) -> None:
        found = self.made(tmp_path, EXTRAS="databases delta ray", PACKAGES="s3fs psycopg2-binary")
        names = [each.name for each in found[image]]
        wanted = {
            Requirement(line).name
            for extra in ("databases", "delta", "ray")
            for line in PROJECT["optional-dependencies"][extra]
        }
        assert wanted | {"s3fs", "psycopg2-binary"} <= set(names)
        for each in found[image]:
            if (name := canonicalize_name(each.name)) in PINNED:
                assert Version(PINNED[name]) in each.specifier
        assert {canonicalize_name(name) for name in wanted} <= set(PINNED)

    @pytest.mark.parametrize("extra", ["databses", "server", "distill"])
    def test_what_is_no_further_extra_ends_the_build(self, tmp_path: Path, extra: str) -> None:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.made(tmp_path, EXTRAS=f"delta {extra}")
        said = f"EXTRAS has {extra}; allowed: databases, delta, ray, telemetry"
        assert said in caught.value.stderr

    @pytest.mark.parametrize(
        ("image", "extra", "runtime"),
        [("cpu", "server", "onnxruntime"), ("gpu", "gpu", "onnxruntime-gpu")],
    )
    def test_one_runtime_and_no_torch(
        self, required: dict[str, list[Requirement]], image: str, extra: str, runtime: str
    ) -> None:
        names = [each.name for each in required[image]]
        assert [name for name in names if name.startswith("onnxruntime")] == [runtime]
        assert "torch" not in names
        wanted = {Requirement(each).name for each in PROJECT["optional-dependencies"][extra]}
        assert wanted < set(names)

    @pytest.mark.parametrize("image", IMAGES)
    def test_versions_are_exact(self, required: dict[str, list[Requirement]], image: str) -> None:
        for each in required[image]:
            assert Version(PINNED[canonicalize_name(each.name)]) in each.specifier, each.name
        (install,) = [run for run in SERVER[f"{image}-build"].all("RUN") if "requirement" in run]
        assert "--constraint constraints.txt" in install
        assert f"--requirement {image}.txt" in install

    def test_tensorrt_is_what_onnx_runtime_was_built_for(self) -> None:
        """onnxruntime-gpu 1.31 loads libnvinfer.so.10 and CUDA 13's libraries."""
        assert PINNED["onnxruntime-gpu"].startswith("1.31.")
        assert PINNED["tensorrt"].startswith("10.")
        assert PINNED["tensorrt-cu13"] == PINNED["tensorrt"]
        assert SERVER["gpu-python"].base.startswith("nvidia/cuda:13.")

    @pytest.mark.parametrize("image", IMAGES)
    def test_python_is_recent_enough(self, image: str) -> None:
        assert python_of(image) in SpecifierSet(PROJECT["requires-python"])

    def test_tensorrts_libraries_are_found(self) -> None:
        """The environment is that of the Python that the image has."""
        python = f"python{python_of('gpu')}"
        path = SERVER["gpu"].environment["LD_LIBRARY_PATH"].split(":")
        assert f"/opt/cascade/lib/{python}/site-packages/tensorrt_libs" in path
        assert f"{python} -m venv /opt/cascade" in SERVER["gpu-build"].all("RUN")


class TestWhatIsRun:
    """The command line and the health check, against the program that there is."""

    @pytest.mark.parametrize("image", IMAGES)
    def test_the_command(self, image: str) -> None:
        stage = SERVER[image]
        assert stage.words("ENTRYPOINT") == ["cascade", "serve"]
        assert stage.all("CMD") == []
        assert any(copy.endswith(" /models") for copy in stage.all("COPY"))

    @pytest.mark.parametrize("image", IMAGES)
    def test_the_settings(self, image: str) -> None:
        """Those of the file that is copied to where the environment says it is."""
        stage = SERVER[image]
        path = Path(stage.environment["CASCADE_CONFIG"])
        copied = [each.split() for each in stage.all("COPY")]
        assert any(
            f"deploy/{path.name}" in each and each[-1] == f"{path.parent}/" for each in copied
        )
        given = effective({}, {}, ROOT / "deploy" / path.name)
        assert (given["host"], str(given["port"])) == ("0.0.0.0", stage.one("EXPOSE"))
        assert given["repository"] == "/models"

    @pytest.mark.parametrize("image", IMAGES)
    def test_a_volume_for_jobs_is_its_users(self, image: str) -> None:
        """A named volume takes over who owns the folder that it is mounted over."""
        page = (ROOT / "docs/deploy.md").read_text()
        (folder,) = set(re.findall(r"cascade --state-dir (/\S+)", page))
        made = SERVER[image].one("RUN")
        assert f"install --directory --owner={SERVER[image].one('USER')} {folder}" in made

    def test_the_health_check(self, tmp_path: Path) -> None:
        _, program = SERVER["cpu"].one("HEALTHCHECK").split("CMD")
        words = Stage("", [("CMD", program)]).words("CMD")
        assert words[:2] == ["python", "-c"]

        def looks(target: str) -> int:
            said = words[2].replace("127.0.0.1:8470", target).replace("wait_ready(2)", wait)
            return subprocess.run([sys.executable, "-c", said], stderr=-3, check=False).returncode

        make_release(tmp_path)
        wait = "wait_ready(20)"
        with running(ServerConfig(repository=tmp_path, port=0)) as server:
            assert looks(server.target) == 0
        wait = "wait_ready(0.1)"
        assert looks(server.target) != 0
