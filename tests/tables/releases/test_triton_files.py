"""Triton's files of a release: what Triton itself makes of them, and when they are written."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest
from cascade_cli.program import main
from cascade_tables import ReleaseError, load_release
from cascade_tables.releases.triton_files import TritonRuntime, configure
from click.testing import CliRunner

from tests.releases import TABLE, make_release
from tests.server.services.open_inference.conftest import triton_python

__all__ = ["triton_python"]  # a fixture

BUNDLED = Path(__file__).parents[3] / "model_repository"
MODELS = (TABLE, f"{TABLE}_student", f"{TABLE}_teacher")
# Reads text as Triton does, and says what it read.
PARSE = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
for path in sys.argv[1:]:
    config = text_format.Parse(open(path).read(), model_config_pb2.ModelConfig())
    print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""


def parsed(python: Path, paths: list[Path]) -> list[Any]:
    """Files as Triton's own message has them."""
    done = subprocess.run(
        [python, "-c", PARSE, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    make_release(tmp_path)
    return tmp_path


@pytest.mark.parametrize("priorities", [False, True])
@pytest.mark.parametrize("runtime", TritonRuntime)
def test_are_what_tritons_own_message_takes(
    repository: Path, triton_python: Path, runtime: TritonRuntime, priorities: bool
) -> None:
    configure(repository, runtime, priorities=priorities)
    table, student, teacher = parsed(
        triton_python, [repository / name / "config.pbtxt" for name in MODELS]
    )
    assert [each["name"] for each in (table, student, teacher)] == [*MODELS]
    assert table["backend"] == teacher["backend"] == "python"
    assert student["backend"] == runtime
    for model in (table, student, teacher):
        assert (repository / model["name"] / "1").is_dir()
        assert model["model_warmup"]
        assert "response_cache" in model
        assert not model["response_cache"].get("enable", False)
    batching = table["dynamic_batching"]
    assert batching.get("priority_levels") == ("2" if priorities else None)
    # A queue with any policy at all may be left asleep beside an idle instance.
    policy = batching.get("default_queue_policy", {})
    assert policy.get("allow_timeout_override", False) is priorities
    assert table["instance_group"][0]["count"] == 1 + priorities
    types = {each["name"]: each["data_type"] for each in table["input"]}
    assert types["amount"] == "TYPE_FP64"
    assert types["channel"] == "TYPE_STRING"
    assert types["at"] == types["items"] == "TYPE_INT64"
    assert types["member"] == "TYPE_BOOL"
    assert types["amount.state"] == types["row.state"] == "TYPE_UINT8"
    noise = next(each for each in student["input"] if each["name"] == "noise")
    assert noise.get("optional", False) is (runtime is TritonRuntime.PYTHON)


def test_describe_the_graph_that_another_backend_runs(
    repository: Path, triton_python: Path
) -> None:
    configure(repository, TritonRuntime.ONNXRUNTIME)
    (config,) = parsed(triton_python, [repository / f"{TABLE}_student" / "config.pbtxt"])
    folder = repository / f"{TABLE}_student" / "1"
    graph = onnx.load(folder / config["default_model_filename"]).graph
    kinds = {1: "TYPE_FP32", 6: "TYPE_INT32", 9: "TYPE_BOOL"}
    for side in ("input", "output"):
        found = {}
        for each in getattr(graph, side):
            of = each.type.tensor_type
            batch, width = of.shape.dim
            assert not batch.HasField("dim_value")
            found[each.name] = (kinds[of.elem_type], [str(width.dim_value)])
        assert found == {e["name"]: (e["data_type"], e["dims"]) for e in config[side]}
    # Nothing is left of what Python would have run.
    assert not (folder / "model.py").exists()


def test_the_bundled_ones_are_up_to_date(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "models")
    newest = [
        max(model.glob("*/model.py"), key=lambda path: int(path.parent.name))
        for model in BUNDLED.iterdir()
    ]
    others = [
        path for pattern in ("*/config.pbtxt", "*/warmup/*") for path in BUNDLED.glob(pattern)
    ]
    written = [path.relative_to(BUNDLED) for path in (*newest, *others)]
    assert len(written) == 14
    for path in written:
        (tmp_path / "models" / path).unlink()
    configure(tmp_path / "models")
    for path in written:
        assert (tmp_path / "models" / path).read_bytes() == (BUNDLED / path).read_bytes()


def test_a_release_is_whole_with_and_without_them(repository: Path) -> None:
    before = load_release(repository, TABLE, 1)
    configure(repository)
    assert load_release(repository, TABLE, 1).manifest == before.manifest


def test_are_of_the_latest_version(repository: Path) -> None:
    make_release(repository, version=3)
    assert configure(repository) == {TABLE: 3}
    assert (repository / TABLE / "3" / "model.py").exists()


class TestCommand:
    """`cascade configure`."""

    def test_says_what_it_wrote(self, repository: Path) -> None:
        done = CliRunner().invoke(main, ["configure", str(repository), "--runtime", "tensorrt"])
        assert done.exit_code == 0, done.output
        assert done.output == f"configured {TABLE} version 1 for Triton, its student by tensorrt\n"
        config = (repository / f"{TABLE}_student" / "config.pbtxt").read_text()
        assert "model.plan" in config
        assert "KIND_GPU" in config

    def test_priorities_are_asked_for(self, repository: Path) -> None:
        config = repository / TABLE / "config.pbtxt"
        for options, there in (([], False), (["--priorities"], True)):
            done = CliRunner().invoke(main, ["configure", str(repository), *options])
            assert done.exit_code == 0, done.output
            assert ("priority_levels" in config.read_text()) is there

    def test_names_the_tables_there_are(self, repository: Path) -> None:
        done = CliRunner().invoke(main, ["configure", str(repository), "--table", "nope"])
        assert done.exit_code == 1
        assert f"no release of 'nope'; its tables are: {TABLE}" in done.output

    def test_an_empty_repository_is_said_to_be_empty(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(main, ["configure", str(tmp_path)])
        assert done.exit_code == 1
        assert "holds no release" in done.output

    def test_a_damaged_release_gets_none(self, repository: Path) -> None:
        (repository / f"{TABLE}_student" / "1" / "model.onnx").write_bytes(b"")
        with pytest.raises(ReleaseError, match="damaged"):
            configure(repository)
        assert not (repository / TABLE / "config.pbtxt").exists()
