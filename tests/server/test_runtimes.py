"""Which runtime runs a release: what was asked for and what there is; a choice or an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cascade_server.commands import serve
from cascade_server.config import ServerConfig
from cascade_server.engines.gpu import opening
from cascade_server.engines.gpu.commands import compile_plans
from cascade_server.engines.gpu.device import Gpu
from cascade_server.engines.gpu.opening import Machine, open_runtime
from cascade_server.errors import ConfigError, GpuError
from cascade_server.runtimes import Available, Choice, choose_runtime
from cascade_tables import load_release
from click.testing import CliRunner

from tests.releases import TABLE

CPU, CUDA, TRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
EVERYTHING = Available((TRT, CUDA, CPU))
NOTHING = Available((CPU,), "there is no GPU", "tensorrt is not installed", "")


class TestChoice:
    """What is named is had or is an error; `auto` takes the best that is there."""

    @pytest.mark.parametrize("asked", ["cpu", "onnxruntime", "cuda", "tensorrt-ep", "tensorrt"])
    def test_what_is_named_and_there_is_had(self, asked: str) -> None:
        assert choose_runtime(asked, EVERYTHING) == Choice(asked)

    def test_the_cpu_is_always_there(self) -> None:
        assert choose_runtime("cpu", NOTHING) == Choice("cpu")
        assert choose_runtime("onnxruntime", NOTHING) == Choice("onnxruntime")

    @pytest.mark.parametrize(
        ("asked", "available", "says"),
        [
            ("cuda", NOTHING, "runtime 'cuda' was asked for, but there is no GPU"),
            ("tensorrt", NOTHING, "runtime 'tensorrt' was asked for, but there is no GPU"),
            ("tensorrt", replace(EVERYTHING, no_tensorrt="no TensorRT"), "but no TensorRT"),
            ("tensorrt", replace(EVERYTHING, no_plans="no plan fits"), "but no plan fits"),
            (
                "cuda",
                Available((CPU,)),
                "ONNX Runtime has no CUDAExecutionProvider here, only CPUExecutionProvider; "
                "run: pip uninstall onnxruntime && pip install",
            ),
            ("tensorrt-ep", Available((CUDA, CPU)), "has no TensorrtExecutionProvider here"),
        ],
    )
    def test_what_is_named_and_missing_is_an_error(
        self, asked: str, available: Available, says: str
    ) -> None:
        with pytest.raises(GpuError) as caught:
            choose_runtime(asked, available)
        assert says in str(caught.value)

    @pytest.mark.parametrize(
        ("available", "runtime", "passed_over"),
        [
            (EVERYTHING, "tensorrt", 0),
            (replace(EVERYTHING, no_plans="no plan fits"), "cuda", 1),
            (replace(EVERYTHING, no_plans="no plan fits", providers=(CPU,)), "cpu", 2),
            (NOTHING, "cpu", 2),
        ],
    )
    def test_auto(self, available: Available, runtime: str, passed_over: int) -> None:
        found = choose_runtime("auto", available)
        assert (found.runtime, len(found.passed_over)) == (runtime, passed_over)

    def test_another_name(self) -> None:
        with pytest.raises(
            ConfigError, match="runtime is 'gpu'; allowed: auto, cpu, onnxruntime, cu"
        ):
            ServerConfig(runtime="gpu")


class TestOpening:
    """A release opened on this machine, which tests take to have no GPU."""

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = Machine(None, "cuda-bindings is not installed", None, "", (CPU,))
        monkeypatch.setattr(opening, "look", lambda: machine)

    def test_auto_takes_the_cpu_without_a_word(
        self, repository: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        runtime = open_runtime(load_release(repository, TABLE, 1), repository, asked="auto")
        assert (runtime.whole_passes, caplog.messages) == (False, [])

    def test_a_gpu_that_is_not_used_is_told_of(
        self, repository: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = Gpu("a card", (9, 0), 13000, 13000)
        machine = Machine(card, "", None, "tensorrt is not installed", (CPU,))
        monkeypatch.setattr(opening, "look", lambda: machine)
        runtime = open_runtime(load_release(repository, TABLE, 1), repository, asked="auto")
        assert not runtime.whole_passes
        assert [message[:44] for message in caplog.messages] == [
            "payments v1 runs on cpu; passed over: tensor",
            "payments v1 runs on cpu; passed over: cuda: ",
        ]

    @pytest.mark.parametrize("asked", ["cuda", "tensorrt", "tensorrt-ep"])
    def test_what_is_named_fails(self, repository: Path, asked: str) -> None:
        with pytest.raises(GpuError, match=f"runtime '{asked}' was asked for, but cuda-bindings"):
            open_runtime(load_release(repository, TABLE, 1), repository, asked=asked)


class TestCommands:
    """Without a GPU the commands say what is missing, and how to get it."""

    @pytest.fixture(autouse=True)
    def no_bindings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "tensorrt"):
            monkeypatch.setitem(sys.modules, name, None)
        opening.look.cache_clear()

    def test_compile(self, repository: Path) -> None:
        done = CliRunner().invoke(compile_plans, [TABLE, "--repository", str(repository)])
        assert done.exit_code == 1
        lines = done.output.splitlines()
        assert lines[0] == "Error: plans cannot be compiled here:"
        assert "cuda-bindings is not installed; run: pip install" in lines[1]
        assert "tensorrt is not installed; run: pip install" in lines[2]

    def test_compile_what_is_not_there(self, repository: Path) -> None:
        done = CliRunner().invoke(compile_plans, ["orders", "--repository", str(repository)])
        assert done.exit_code == 1
        assert "has no release of 'orders'; it has: payments, shops" in done.output

    def test_serve(self) -> None:
        done = CliRunner().invoke(serve, ["--runtime", "gpu"])
        assert done.exit_code == 1
        assert "Error: --runtime is 'gpu'; allowed: auto, cpu, onnxruntime, cuda" in done.output
