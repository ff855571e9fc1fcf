"""Models that keep tensors in other files are found, wherever the tensor is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from cascade_tables import ReleaseError, load_release
from cascade_tables.releases.external_data import External, external_data
from cascade_tables.releases.wire_format import Malformed
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.releases import TABLE, make_release

PASSWORDS = "../../../etc/passwd"


def elsewhere(location: str | None = PASSWORDS, name: str = "weights") -> TensorProto:
    """A tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    if location is not None:
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="location", value=location)
    return tensor


def graph(**parts: object) -> onnx.GraphProto:
    return onnx.GraphProto(name="graph", **parts)


def initializer() -> onnx.ModelProto:
    return onnx.ModelProto(graph=graph(initializer=[elsewhere()]))


def sparse() -> onnx.ModelProto:
    values = onnx.SparseTensorProto(values=elsewhere(), dims=[9])
    return onnx.ModelProto(graph=graph(sparse_initializer=[values]))


def constant() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["out"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(elsewhere())
    return onnx.ModelProto(graph=graph(node=[node]))


def constants() -> onnx.ModelProto:
    node = helper.make_node("Custom", [], ["out"])
    node.attribute.add(name="values", type=onnx.AttributeProto.TENSORS).tensors.append(elsewhere())
    return onnx.ModelProto(graph=graph(node=[node]))


def branch() -> onnx.ModelProto:
    """In a branch of an If, inside a branch of another."""
    inner = graph(initializer=[elsewhere()])
    for _ in range(2):
        node = helper.make_node("If", ["condition"], ["out"], then_branch=inner)
        inner = graph(node=[node])
    return onnx.ModelProto(graph=inner)


def function() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["out"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(elsewhere())
    return onnx.ModelProto(functions=[onnx.FunctionProto(name="f", node=[node])])


def default_of_a_function() -> onnx.ModelProto:
    written = onnx.FunctionProto(name="f")
    written.attribute_proto.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(
        elsewhere()
    )
    return onnx.ModelProto(functions=[written])


def training() -> onnx.ModelProto:
    info = onnx.TrainingInfoProto(algorithm=graph(initializer=[elsewhere()]))
    return onnx.ModelProto(training_info=[info])


PLACES = [
    initializer,
    sparse,
    constant,
    constants,
    branch,
    function,
    default_of_a_function,
    training,
]


class TestFound:
    @pytest.mark.parametrize("make", PLACES, ids=lambda make: make.__name__)
    def test_wherever_it_is(self, make: Callable[[], onnx.ModelProto]) -> None:
        model = make().SerializeToString()
        assert external_data(model) == External("weights", PASSWORDS)

    def test_a_location_without_the_flag(self) -> None:
        """Some runtimes may look at the one, some at the other."""
        tensor = elsewhere()
        tensor.ClearField("data_location")
        model = onnx.ModelProto(graph=graph(initializer=[tensor]))
        assert external_data(model.SerializeToString()) == External("weights", PASSWORDS)

    def test_a_flag_without_a_location(self) -> None:
        model = onnx.ModelProto(graph=graph(initializer=[elsewhere(None)]))
        assert external_data(model.SerializeToString()) == External("weights", "")

    def test_a_graph_in_two_halves(self) -> None:
        """Protobuf joins what comes twice."""
        model = onnx.ModelProto(graph=graph()).SerializeToString()
        assert external_data(model + initializer().SerializeToString()) is not None


class TestNotFound:
    def test_tensors_that_are_inside(self) -> None:
        inside = helper.make_tensor("weights", TensorProto.FLOAT, [2], [1.0, 2.0])
        inside.data_location = TensorProto.DEFAULT
        model = onnx.ModelProto(graph=graph(initializer=[inside]))
        assert external_data(model.SerializeToString()) is None

    def test_bytes_that_look_like_one(self) -> None:
        """What is inside of a tensor's own values is a value."""
        inside = TensorProto(name="weights", data_type=TensorProto.UINT8, dims=[1])
        inside.raw_data = initializer().SerializeToString()
        model = onnx.ModelProto(graph=graph(initializer=[inside]))
        assert external_data(model.SerializeToString()) is None


class TestMalformed:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"\x08", "ends inside a number"),
            (b"\x08" + b"\xff" * 10, "more than 64 bits"),
            (b"\x12\x05abc", "ends inside a field"),
            (b"\x11abc", "ends inside a field"),
            (b"\x00\x00", "number 0"),
            (b"\x0b", "ends inside a group"),
            (b"\x0c", "wire type 4"),
            (b"\x0f", "wire type 7"),
        ],
        ids=repr,
    )
    def test_what_protobuf_refuses(self, content: bytes, said: str) -> None:
        with pytest.raises(DecodeError):
            onnx.ModelProto().ParseFromString(content)
        with pytest.raises(Malformed, match=said):
            external_data(content)

    def test_graphs_in_graphs_without_end(self) -> None:
        """Each a Node with an Attribute with a Graph; written from the inside."""

        def field(number: int, content: bytes) -> bytes:
            length, size = len(content), b""
            while length >= 0x80:
                size += bytes([length & 0x7F | 0x80])
                length >>= 7
            return bytes([number << 3 | 2]) + size + bytes([length]) + content

        content = field(1, b"")
        for _ in range(200):
            content = field(1, field(5, field(6, content)))
        with pytest.raises(Malformed, match="nested more than 100 deep"):
            external_data(field(7, content))

    @given(st.data())
    def test_all_that_protobuf_reads_is_read(self, data: st.DataObject) -> None:
        """Else a damaged model would be refused for another reason than it has."""
        content = bytearray(branch().SerializeToString())
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        try:
            onnx.ModelProto().ParseFromString(bytes(content))
        except DecodeError:
            return
        external_data(bytes(content))


class TestReleases:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        make_release(tmp_path)
        return tmp_path

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_a_model_that_refers_to_another_file(self, repository: Path, tier: str) -> None:
        name = f"{TABLE}_{tier}/1/model.onnx"
        self.replace(repository, name, initializer().SerializeToString())
        with pytest.raises(ReleaseError) as caught:
            load_release(repository, TABLE, 1)
        assert str(caught.value) == (
            f"{repository / name}: its tensor 'weights' refers to external data, {PASSWORDS!r}; "
            "allowed: models that hold all of their tensors"
        )

    def test_a_model_that_is_none(self, repository: Path) -> None:
        name = f"{TABLE}_student/1/model.onnx"
        self.replace(repository, name, b"\x0c")
        with pytest.raises(ReleaseError, match="is not an ONNX model: it has a field of wire type"):
            load_release(repository, TABLE, 1)

    def replace(self, repository: Path, name: str, content: bytes) -> None:
        """As whoever wrote the release might: the file and its hash."""
        (repository / name).write_bytes(content)
        path = repository / TABLE / "1/release.json"
        manifest = json.loads(path.read_text())
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
        path.write_text(json.dumps(manifest))


def test_the_bundled_models_hold_their_tensors() -> None:
    repository = Path(__file__).parents[3] / "model_repository"
    found = {path: external_data(path.read_bytes()) for path in repository.glob("*/*/model.onnx")}
    assert found
    assert set(found.values()) == {None}
