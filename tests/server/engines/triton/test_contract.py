"""What a release needs of a model on another server, and what is said where it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton.contract import Network, differs, may_cancel, missing, serves
from cascade_server.engines.triton.messages import Batch, WrongAnswer, to_answer, to_request
from cascade_server.terms import Tier
from cascade_server.wire.tensors import read_inputs
from cascade_tables import load_release

from tests.releases import TABLE

STUDENT = Network("credit", Tier.STUDENT, 3, (4, 2, 8), 5, 1)
TEACHER = Network("credit", Tier.TEACHER, 3, (4, 2, 8), 17, 3)


def metadata(network: Network, **changes: tuple[str, list[int]] | None) -> pb.ModelMetadataResponse:
    """Of a model that fits, but for what is changed; None: it is not there."""
    tensors: dict[str, tuple[str, list[int]] | None] = {
        "tokens": ("INT32", [-1, 3]),
        "observed": ("BOOL", [-1, 3]),
        "noise": ("FP32", [-1, network.noise]),
        "drawn": ("INT32", [-1, 3]),
        "log_likelihood": None,
        **changes,
    }
    out = pb.ModelMetadataResponse()
    for name, tensor in tensors.items():
        if tensor is not None:
            where = out.outputs if name in ("drawn", "log_likelihood") else out.inputs
            where.add(name=name, datatype=tensor[0], shape=tensor[1])
    return out


class TestMetadata:
    """Shapes are those of the release, or what is found and what is expected is said."""

    def test_of_a_release(self, repository: Path) -> None:
        runtime = Runtime(load_release(repository, TABLE, 3), tiers=())
        network = Network.of_release(runtime, Tier.TEACHER)
        assert str(network) == f"{TABLE}_teacher version 3"
        assert (network.slots, network.noise) == (runtime.slots, runtime.teacher_noise)

    @pytest.mark.parametrize(
        "changes", [{}, {"tokens": ("INT32", [-1, -1])}, {"log_likelihood": ("FP64", [-1, 1])}]
    )
    def test_what_fits(self, changes: Any) -> None:
        assert differs(TEACHER, metadata(TEACHER, **changes)) is None

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            (
                {"tokens": ("INT32", [-1, 4])},
                "credit_student version 3 has input 'tokens' as INT32 [n, 4]; the release's: "
                "INT32 [n, 3]",
            ),
            ({"noise": ("FP64", [-1, 5])}, "'noise' as FP64 [n, 5]; the release's: FP32 [n, 5]"),
            ({"observed": ("BOOL", [3])}, "'observed' as BOOL [3]"),
            ({"noise": None}, "no input 'noise', which is FP32 [n, 5]; its inputs are: "),
            ({"drawn": None}, "no output 'drawn', which is INT32 [n, 3]; its outputs are: none"),
        ],
    )
    def test_what_does_not(self, changes: Any, words: str) -> None:
        assert words in (differs(STUDENT, metadata(STUDENT, **changes)) or "")

    def test_models_and_versions(self) -> None:
        assert missing(STUDENT, ["1", "3"], []) is None
        assert missing(STUDENT, [], ["adult_student", "simple"]) == (
            "model 'credit_student' is missing; the models there are: adult_student, simple"
        )
        said = missing(STUDENT, ["1", "2"], ["credit_student"]) or ""
        assert "model 'credit_student' has no version 3, the release's" in said
        assert "its versions are: 1, 2" in said

    def test_rows_of_a_batch(self) -> None:
        assert serves(STUDENT, metadata(STUDENT), 0).most == 1024
        assert serves(STUDENT, metadata(STUDENT), 64).most == 64
        assert serves(TEACHER, metadata(TEACHER), 4096).most == 256
        wide = Network("wide", Tier.TEACHER, 1, (2**17,), 2**17, 1)
        # Four MiB of noise.
        assert serves(wide, metadata(wide), 0).most == 8

    def test_log_likelihoods(self) -> None:
        assert not serves(TEACHER, metadata(TEACHER), 0).scores
        scored = metadata(TEACHER, log_likelihood=("FP64", [-1, 1]))
        assert serves(TEACHER, scored, 0).scores


def batch(steps: int = 1, noise: int = 5) -> Batch:
    observed = np.array([[True, False, False], [False, True, True]])
    tokens = np.array([[3, 0, 0], [0, 1, 7]], np.int32)
    return Batch(tokens, observed, np.full((2, noise), 0.25, np.float32), steps)


class TestMessages:
    """What is sent is what our own server reads; what comes back is not taken on trust."""

    def test_a_request(self) -> None:
        request = to_request(TEACHER, batch(2, 17), 0.25, True)
        assert (request.model_name, request.model_version) == ("credit_teacher", "3")
        sent = {name: each.int64_param for name, each in request.parameters.items()}
        assert sent == {"steps": 2, "timeout": 250_000, "priority": 2}
        assert [output.name for output in request.outputs] == ["drawn"]
        inputs = read_inputs(request)
        for name in ("tokens", "observed", "noise"):
            values: Any = inputs[name].values
            expected = getattr(batch(2, 17), name)
            np.testing.assert_array_equal(values.reshape(expected.shape), expected)

    def test_what_has_no_deadline_says_of_none(self) -> None:
        assert not to_request(STUDENT, batch(), float("inf"), False).parameters

    def test_a_request_for_log_likelihoods(self) -> None:
        request = to_request(TEACHER, batch()._replace(noise=None), 1.0, False)
        assert [output.name for output in request.outputs] == ["log_likelihood"]
        assert [each.name for each in request.inputs] == ["tokens", "observed"]

    def answer(
        self, values: Any, name: str = "drawn", datatype: str = "INT32"
    ) -> pb.ModelInferResponse:
        out = pb.ModelInferResponse(raw_output_contents=[values.tobytes()])
        out.outputs.add(name=name, datatype=datatype, shape=values.shape)
        return out

    def test_an_answer(self) -> None:
        drawn = np.array([[3, 1, 5], [2, 1, 7]], np.int32)
        found = to_answer(STUDENT, batch(), self.answer(drawn))
        np.testing.assert_array_equal(found, drawn)
        found[0, 0] = 0  # it may be written to
        scores = np.array([[-1.5], [-2.5]])
        score = batch()._replace(noise=None)
        said = self.answer(scores, "log_likelihood", "FP64")
        assert to_answer(TEACHER, score, said).tolist() == [-1.5, -2.5]

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ([[3, 2, 5], [2, 1, 7]], "drawn has 2 in slot 1; the release allows 0 to 1"),
            ([[3, 1, 5], [-1, 1, 7]], "drawn has -1 in slot 0"),
            ([[2, 1, 5], [2, 1, 7]], "another token than the one that is known of slot 0"),
            ([[3, 1, 5]], r"drawn is INT32 \[1, 3\]; asked for: INT32 \[2, 3\]"),
        ],
    )
    def test_answers_that_cannot_be(self, values: Any, words: str) -> None:
        with pytest.raises(WrongAnswer, match=words):
            to_answer(STUDENT, batch(), self.answer(np.array(values, np.int32)))

    def test_answers_that_are_none(self) -> None:
        with pytest.raises(WrongAnswer, match="no output 'drawn'"):
            to_answer(STUDENT, batch(), pb.ModelInferResponse())
        cut = self.answer(np.array([[3, 1, 5], [2, 1, 7]], np.int32))
        cut.raw_output_contents[0] = b"1234"
        with pytest.raises(WrongAnswer, match="4 raw bytes"):
            to_answer(STUDENT, batch(), cut)
        nothing = self.answer(np.array([[np.nan], [0.0]]), "log_likelihood", "FP64")
        with pytest.raises(WrongAnswer, match="no numbers"):
            to_answer(TEACHER, batch()._replace(noise=None), nothing)


class TestCancelling:
    """A Triton whose front end may end by it is sent no cancellation."""

    @pytest.mark.parametrize(
        ("version", "may"),
        [
            ("2.51.0", False),
            ("2.54.0dev", False),
            ("2.58.0", False),
            # A build on the way to 2.59 may have been made before the last repair.
            ("2.59.0dev", False),
            ("2.59.0", True),
            ("2.59.1", True),
            ("2.60.0dev", True),
            ("2.100", True),
            ("3.0.0", True),
            # What cannot be read is taken to be old.
            ("", False),
            ("2", False),
            ("r25.06", False),
            ("two.59", False),
            ("-2.60.0", False),
        ],
    )
    def test_tritons(self, version: str, may: bool) -> None:
        assert may_cancel("triton", version) is may

    @pytest.mark.parametrize("name", ["cascade", "mlserver", ""])
    @pytest.mark.parametrize("version", ["0.1.0", "2.51.0", ""])
    def test_others(self, name: str, version: str) -> None:
        assert may_cancel(name, version, ["model_repository", "parameters"])

    def test_a_triton_that_was_given_another_name(self) -> None:
        own = ["classification", "sequence", "model_repository", "cuda_shared_memory"]
        assert not may_cancel("gpu-1", "2.51.0", own)
        assert may_cancel("gpu-1", "2.60.0", own)
