"""A model repository in a real Triton and in the embedded server: one client, the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_tables import list_releases, load_release
from cascade_tables.releases.triton_files import configure

from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.triton_messages import MODEL_INFER
from benchmarks.peers.triton_server import Triton, installed, triton
from tests.releases import TABLE, make_release
from tests.server.messages import ROW
from tests.server.running import DRAWN_ANEW, running
from tests.server.services.open_inference.conftest import (
    Refused,
    TritonClient,
    asking,
    triton_python,
)

__all__ = ["triton_python"]  # a fixture

BUNDLED = Path(__file__).parents[2] / "model_repository"
# What is known of a row, and two seeds' worth of it.
KNOWN: dict[str, dict[str, Any]] = {
    "credit": {"limit_bal": ("INT64", [[20000]]), "education": ("BYTES", [["2"]])},
    "adult": {"age": ("INT64", [[38]]), "sex": ("BYTES", [["Female"]])},
    TABLE: {"amount": ("FP64", [[12.34]]), "channel.state": ("UINT8", [[1]])},
}
PROVENANCE = "provenance"


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("payments")
    make_release(folder)
    configure(folder)
    # The bundled tables run their students themselves; this one calls its student's model.
    config = folder / TABLE / "config.pbtxt"
    config.write_text(config.read_text().replace('string_value: "here"', 'string_value: "called"'))
    return folder


@pytest.fixture(scope="module")
def server(payments: Path) -> Iterator[Triton]:
    """The bundled repository as it is, and `payments`, whose columns are of every kind."""
    try:
        installed()
    except NotInstalled as exc:
        pytest.skip(str(exc))
    with triton(BUNDLED, f"--model-repository={payments}") as found:
        yield found


@pytest.fixture(scope="module")
def theirs(server: Triton, triton_python: Path) -> Iterator[TritonClient]:
    """A client of Triton."""
    with asking(server.target, triton_python) as client:
        yield client


@pytest.fixture(scope="module")
def ours(triton_python: Path, payments: Path) -> Iterator[TritonClient]:
    """The same of the embedded server, for the bundled tables."""
    with (
        running(ServerConfig(repository=BUNDLED, port=0, **DRAWN_ANEW)) as found,
        asking(found.target, triton_python) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def ours_payments(triton_python: Path, payments: Path) -> Iterator[TritonClient]:
    with (
        running(ServerConfig(repository=payments, port=0, **DRAWN_ANEW)) as found,
        asking(found.target, triton_python) as client,
    ):
        yield client


@pytest.fixture(params=sorted(KNOWN))
def table(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def embedded(table: str, request: pytest.FixtureRequest) -> TritonClient:
    client: TritonClient = request.getfixturevalue("ours_payments" if table == TABLE else "ours")
    return client


def said(answer: Any) -> Any:
    """Where an answer of Triton says that it comes from."""
    return json.loads(answer["outputs"][PROVENANCE][1][0][0])


def columns(answer: Any) -> Any:
    """Its other outputs."""
    return {name: value for name, value in answer["outputs"].items() if name != PROVENANCE}


def network(table: str, repository: Path = BUNDLED) -> tuple[int, int, int]:
    """Slots, and uniform numbers a row of the student and the teacher."""
    release = load_release(repository, table, max(list_releases(repository)[table]))
    noise = release.manifest.student["noise_width"], release.manifest.teacher["noise_width"]
    return len(release.codec.layout.sizes), *noise


class TestRows:
    """Equal seeds give equal rows in both."""

    @pytest.mark.parametrize("fidelity", ["fast", "full"])
    def test_of_a_table(
        self, theirs: TritonClient, embedded: TritonClient, table: str, fidelity: str
    ) -> None:
        how = {"seed": 2**62 + 7, "draws": 3, "fidelity": fidelity}
        expected = embedded.infer(table, KNOWN[table], parameters=how)
        found = theirs.infer(table, KNOWN[table], parameters=how)
        assert columns(found) == expected["outputs"]
        assert found["version"] == expected["version"]
        assert (
            said(found).items()
            >= {
                name: expected["parameters"][name] for name in ("synthetic", "tier", "steps")
            }.items()
        )
        assert said(found)["seed"] == 2**62 + 7

    def test_of_named_columns(
        self, theirs: TritonClient, embedded: TritonClient, table: str
    ) -> None:
        names = [*KNOWN[table]][:1]
        names = [name for name in names if "." not in name] + ["log_likelihood"]
        found, expected = (
            client.infer(table, KNOWN[table], outputs=names, parameters={"seed": 1})
            for client in (theirs, embedded)
        )
        assert found["outputs"].keys() == {*names}
        assert found["outputs"] == expected["outputs"]

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    @pytest.mark.parametrize("with_noise", [False, True])
    def test_of_a_network(
        self, theirs: TritonClient, ours: TritonClient, tier: str, with_noise: bool
    ) -> None:
        slots, student, teacher = network("credit")
        inputs: dict[str, Any] = {
            "tokens": ("INT32", np.zeros((2, slots), int).tolist()),
            "observed": ("BOOL", [[at == 0 for at in range(slots)]] * 2),
        }
        how: dict[str, Any] = {} if tier == "student" else {"steps": 5}
        if with_noise:
            width = student if tier == "student" else teacher
            uniform = np.random.default_rng(0).random((2, width), np.float32)
            inputs["noise"] = ("FP32", uniform.tolist())
        else:
            how["seed"] = 3
        found, expected = (
            client.infer(f"credit_{tier}", inputs, outputs=["drawn"], parameters=how)
            for client in (theirs, ours)
        )
        assert found["outputs"] == expected["outputs"]

    def test_without_a_seed_are_others_every_time(self, theirs: TritonClient) -> None:
        first, second = (
            theirs.infer("credit", KNOWN["credit"], parameters={"draws": 4, "fidelity": "fast"})
            for _ in range(2)
        )
        assert columns(first) != columns(second)
        assert said(first)["seed"] != said(second)["seed"]

    def test_the_seed_that_is_told_gives_them_again(self, theirs: TritonClient) -> None:
        how: dict[str, Any] = {"fidelity": "fast"}
        first = theirs.infer("adult", KNOWN["adult"], parameters=how)
        again = theirs.infer(
            "adult", KNOWN["adult"], parameters={**how, "seed": said(first)["seed"]}
        )
        assert columns(again) == columns(first)


class TestTeacher:
    """What only it does."""

    def test_the_likelihood_of_tokens_is_that_of_the_row(self, theirs: TritonClient) -> None:
        release = load_release(BUNDLED, "adult", 2)
        encoded = release.codec.encode_partial({"age": [38], "sex": ["Female"]}, 1)
        inputs = {
            "tokens": ("INT32", encoded.tokens.tolist()),
            "observed": ("BOOL", encoded.observed.tolist()),
        }
        name = "log_likelihood"
        found = theirs.infer("adult_teacher", inputs, outputs=[name])["outputs"]
        expected = theirs.infer("adult", KNOWN["adult"], outputs=[name])["outputs"]
        assert found == expected
        assert found[name][1][0][0] < 0


class TestRow:
    """All columns as one tensor."""

    def test_is_the_columns(self, theirs: TritonClient) -> None:
        schema = load_release(BUNDLED, "credit", 2).codec.schema
        cells = [float("nan")] * len(schema.columns)
        education = schema.columns[schema.names.index("education")]
        cells[schema.names.index("limit_bal")] = 20000.0
        place = education.categories.index("2")
        cells[schema.names.index("education")] = float(place)
        how = {"seed": 5, "draws": 2, "fidelity": "fast"}
        found = theirs.infer("credit", {"row": ("FP64", [cells])}, parameters=how)
        expected = theirs.infer("credit", KNOWN["credit"], parameters=how)["outputs"]
        assert found["outputs"].keys() == {"row", PROVENANCE}
        rows = found["outputs"]["row"][1]
        for at, column in enumerate(schema.columns):
            for draw in range(2):
                value = expected[column.name][1][draw][0]
                if column.categories:
                    value = column.categories.index(value)
                assert rows[draw][at] == value, column.name

    def test_null_is_told_apart_from_absent(self, theirs: TritonClient, payments: Path) -> None:
        schema = load_release(payments, TABLE, 1).codec.schema
        width, channel = len(schema.names), schema.names.index("channel")
        inputs: dict[str, Any] = {
            "row": ("FP64", [[0.0] * width]),
            "row.state": ("UINT8", [[1 if at == channel else 2 for at in range(width)]]),
        }
        found = theirs.infer(TABLE, inputs, parameters={"fidelity": "fast"})["outputs"]
        assert found["row.state"][1][0][channel] == 1
        assert np.isnan(found["row"][1][0][channel])

    def test_names_a_place_that_is_none(self, theirs: TritonClient) -> None:
        width = len(load_release(BUNDLED, "credit", 2).codec.schema.names)
        cells = [float("nan"), 7.0, *[float("nan")] * (width - 2)]
        with pytest.raises(Refused, match="'row' has 7 for column 'sex'; allowed: 0 to 1"):
            theirs.infer("credit", {"row": ("FP64", [cells])})


class TestTogether:
    """Requests that come at once share runs of the student, and are answered as if alone."""

    def requests(self) -> list[bytes]:
        """Of columns, of `row` and of both, with other columns known and wanted in each; some whose
        category folds, or is none, which some refuse, and some of the teacher."""
        schema, rng = load_release(BUNDLED, "adult", 2).codec.schema, np.random.default_rng(0)
        out = []
        for seed in range(48):
            request = pb.ModelInferRequest(model_name="adult")
            request.parameters["seed"].int64_param = seed
            request.parameters["draws"].int64_param = 1 + seed % 3
            request.parameters["fidelity"].string_param = "full" if seed % 16 == 0 else "fast"
            row = np.full(len(schema.columns), np.nan)
            row[0] = 30 + seed
            if seed % 4 == 0:
                request.inputs.add(name="row", datatype="FP64", shape=[1, len(row)])
                request.raw_input_contents.append(row.tobytes())
            else:
                request.inputs.add(name="age", datatype="INT64", shape=[1, 1])
                request.raw_input_contents.append(np.int64(row[0]).tobytes())
                sex = [b"Female", b"Male", b"nobody"][seed % 7 % 3]
                request.parameters["strict"].bool_param = sex == b"nobody" and seed % 2 == 1
                request.inputs.add(name="sex", datatype="BYTES", shape=[1, 1])
                request.raw_input_contents.append(len(sex).to_bytes(4, "little") + sex)
            wanted = rng.permutation(schema.names)[: 1 + seed % 5].tolist()
            for name in [*wanted, *(["row"] if seed % 3 == 0 else [])] if seed % 11 else []:
                request.outputs.add(name=name)
            out.append(request.SerializeToString())
        return out

    def test_they_are_answered_as_if_alone(self, server: Triton) -> None:
        def told(call: Any) -> Any:
            try:
                answer = pb.ModelInferResponse.FromString(call.result())
            except grpc.RpcError as exc:
                return exc.details()
            # Where a row comes from has its seed, and no time.
            return [each.name for each in answer.outputs], list(answer.raw_output_contents)

        with grpc.insecure_channel(server.target) as channel:
            infer = channel.unary_unary(MODEL_INFER)
            requests = self.requests()
            alone = [told(infer.future(each)) for each in requests]
            for _ in range(3):
                calls = [infer.future(each) for each in requests]
                assert [told(call) for call in calls] == alone
        assert sum(isinstance(each, str) for each in alone) in range(1, len(alone) // 2)


class TestDeadline:
    """The request's timeout decides who answers."""

    def test_long_enough_for_the_teacher(self, theirs: TritonClient) -> None:
        # The first request of all has the networks tried, beside it.
        found = theirs.infer("adult", KNOWN["adult"], parameters={"fidelity": "full"})
        assert said(found)["tier"] == "teacher"
        how = {"explain": True}
        found = theirs.infer("adult", KNOWN["adult"], timeout=60_000_000, parameters=how)
        assert "predicted" in said(found)["reason"]

    def test_nothing_is_drawn_too_late(self, theirs: TritonClient) -> None:
        with pytest.raises(Refused) as refused:
            theirs.infer("adult", KNOWN["adult"], timeout=1)
        assert refused.value.status == "StatusCode.UNAVAILABLE"


class TestOutsideValues:
    """Values that were never learnt are answered as the embedded server answers them."""

    @pytest.mark.parametrize(
        "inputs",
        [
            {"amount": ("FP64", [[1e9]])},
            {"channel": ("BYTES", [["fax"]]), "items": ("INT64", [[3]])},
            {"items": ("INT64", [[3], [99]]), "member": ("BOOL", [[True], [False]])},
        ],
    )
    def test_of_a_table(
        self, theirs: TritonClient, ours_payments: TritonClient, inputs: dict[str, Any]
    ) -> None:
        how = {"seed": 7, "fidelity": "fast"}
        outputs = ["amount", "channel", "items", "at", "member", "fraud", "provenance"]
        found = theirs.infer(TABLE, inputs, parameters=how, outputs=outputs)
        expected = ours_payments.infer(TABLE, inputs, parameters=how, outputs=outputs[:-1])
        for name in outputs[:-1]:
            assert found["outputs"][name] == expected["outputs"][name], name
        for name, (_, given) in inputs.items():
            assert found["outputs"][name][1] == given
        assert json.loads(said(found)["outside"])["totals"]


class TestRefusals:
    """In the words of the embedded server."""

    @pytest.mark.parametrize(
        ("inputs", "how"),
        [
            ({"amount": ("FP64", [[1e9]])}, {"strict": True}),
            ({"channel": ("BYTES", [["fax"]])}, {"strict": True}),
            ({"items": ("INT64", [[3]])}, {"draws": 0}),
            ({"items": ("INT64", [[3]])}, {"colour": 1}),
        ],
    )
    def test_of_a_table(
        self,
        theirs: TritonClient,
        ours_payments: TritonClient,
        inputs: dict[str, Any],
        how: dict[str, Any],
    ) -> None:
        messages = []
        for client in (theirs, ours_payments):
            with pytest.raises(Refused) as refused:
                client.infer(TABLE, inputs, parameters=how)
            assert refused.value.status == "StatusCode.INVALID_ARGUMENT"
            messages.append(refused.value.message)
        assert messages[0] == messages[1]

    def test_a_bad_request_takes_none_with_it(self, theirs: TritonClient) -> None:
        bad = {"amount": ("FP64", [[12.34], [-1e9]])}
        with pytest.raises(Refused):
            theirs.infer(TABLE, bad, parameters={"strict": True})
        good = theirs.infer(TABLE, {"amount": ("FP64", [[ROW["amount"]]])})
        assert good["outputs"]["amount"][1] == [[ROW["amount"]]]
