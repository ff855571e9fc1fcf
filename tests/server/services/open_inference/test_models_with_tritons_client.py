"""What Triton's own client is told of the server and its models, and the example in docs/."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cascade_server.config import ServerConfig

from tests.releases import TABLE
from tests.server.messages import COLUMNS
from tests.server.running import DRAWN_ANEW, Running, running
from tests.server.services.open_inference.columns import DATATYPES
from tests.server.services.open_inference.conftest import Refused, TritonClient

ROOT = Path(__file__).parents[4]


ADDRESS = "127.0.0.1:8470"


@pytest.fixture(scope="module")
def serving_bundled() -> Iterator[Running]:
    with running(
        ServerConfig(repository=ROOT / "model_repository", port=0, **DRAWN_ANEW)
    ) as server:
        yield server


class TestServer:
    """What is asked of the server."""

    def test_it_is_live_and_ready(self, triton_client: TritonClient) -> None:
        assert triton_client("is_server_live") is True
        assert triton_client("is_server_ready") is True

    def test_its_metadata_names_what_it_does(self, triton_client: TritonClient) -> None:
        found = triton_client("get_server_metadata")
        assert found["name"] == "cascade"
        assert set(found["extensions"]) == {
            *("model_repository", "parameters", "schedule_policy", "statistics"),
        }

    def test_its_index_has_every_version_of_every_model(self, triton_client: TritonClient) -> None:
        found = triton_client("get_model_repository_index")["models"]
        assert {(each["name"], each["version"]) for each in found} == {
            *((f"payments{end}", v) for end in ("", "_student", "_teacher") for v in ("1", "3")),
            *((f"shops{end}", "1") for end in ("", "_student", "_teacher")),
        }
        assert {each["state"] for each in found} == {"READY"}

    @pytest.mark.parametrize("method", ["load_model", "unload_model"])
    def test_a_process_by_itself_loads_nothing_while_it_answers(
        self, triton_client: TritonClient, method: str
    ) -> None:
        with pytest.raises(Refused, match="one that replaces its processes") as refused:
            triton_client(method, TABLE)
        assert refused.value.status == "StatusCode.FAILED_PRECONDITION"


class TestModels:
    """What is asked of a model, but to infer."""

    @pytest.mark.parametrize(
        ("name", "version", "ready"),
        [
            *((TABLE, "", True), (TABLE, "3", True), (TABLE, "2", False), ("nothing", "", False)),
            *(("payments_student", "1", True), ("payments_teacher", "", True)),
        ],
    )
    def test_ready_is_what_there_is(
        self, triton_client: TritonClient, name: str, version: str, ready: bool
    ) -> None:
        assert triton_client("is_model_ready", name, version) is ready

    def test_a_tables_metadata_has_its_columns(self, triton_client: TritonClient) -> None:
        found = triton_client("get_model_metadata", TABLE)
        assert found["versions"] == ["1", "3"]
        inputs = {each["name"]: each for each in found["inputs"]}
        outputs = {each["name"]: each for each in found["outputs"]}
        for name, datatype in DATATYPES.items():
            described = {"name": name, "datatype": datatype, "shape": ["-1", "1"]}
            assert inputs[name] == outputs[name] == described
        assert {*inputs} == {*COLUMNS, *(f"{name}.state" for name in COLUMNS)}
        # Only channels may be NULL.
        assert {*outputs} == {*COLUMNS, "channel.state", "log_likelihood"}

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_a_networks_metadata_has_its_tokens(
        self, triton_client: TritonClient, serving: Running, tier: str
    ) -> None:
        runtime = serving.server.service.repository.find(TABLE)
        found = triton_client("get_model_metadata", f"{TABLE}_{tier}")
        width = {"student": runtime.student_noise, "teacher": runtime.teacher_noise}[tier]
        slots = ["-1", str(runtime.slots)]
        assert found["inputs"] == [
            {"name": "tokens", "datatype": "INT32", "shape": slots},
            {"name": "observed", "datatype": "BOOL", "shape": slots},
            {"name": "noise", "datatype": "FP32", "shape": ["-1", str(width)]},
        ]
        score = {"name": "log_likelihood", "datatype": "FP64", "shape": ["-1", "1"]}
        assert found["outputs"] == [
            {"name": "drawn", "datatype": "INT32", "shape": slots},
            *([score] if tier == "teacher" else []),
        ]

    def test_statistics_count_what_was_answered(self, triton_client: TritonClient) -> None:
        def counts() -> dict[str, Any]:
            found = triton_client("get_inference_statistics", "shops")["model_stats"]
            assert [each["version"] for each in found] == ["1"]
            return found[0]

        def good(found: dict[str, Any]) -> int:
            return int(found["inference_stats"].get("success", {}).get("count", 0))

        triton_client.infer("shops", parameters={"rows": 1})
        before = counts()
        for _ in range(3):
            triton_client.infer("shops", parameters={"rows": 2, "fidelity": "fast"})
        after = counts()
        assert good(after) - good(before) == 3
        assert int(after["inference_count"]) - int(before["inference_count"]) == 6
        assert int(after["execution_count"]) - int(before["execution_count"]) == 3
        assert int(after["last_inference"]) >= int(before["last_inference"]) > 1.7e12

    def test_statistics_of_nothing_named_are_of_all(self, triton_client: TritonClient) -> None:
        found = triton_client("get_inference_statistics")["model_stats"]
        assert {each["name"] for each in found} == {
            f"{table}{end}" for table in (TABLE, "shops") for end in ("", "_student", "_teacher")
        }


def test_the_documented_example_runs(serving_bundled: Running, triton_python: Path) -> None:
    text = (ROOT / "docs" / "protocols.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert ADDRESS in example
    # As long as a busy machine needs.
    patient = example.replace("timeout=20_000", "timeout=60_000_000")
    assert patient != example
    done = subprocess.run(
        [triton_python, "-c", patient.replace(ADDRESS, serving_bundled.target)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.stderr == ""
    assert len(done.stdout.strip().splitlines()) == 5
