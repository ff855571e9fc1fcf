"""What the builder is asked for, against a fake; and the real TensorRT-RTX where it is.

TensorRT-RTX builds without a GPU, so that the same calls meet a real builder wherever its wheels
are installed (tensorrt-rtx-cu13-libs and -bindings).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cascade_server.engines.gpu import graphs, trt
from cascade_server.engines.gpu.builder import MIB, BuildConfig, batch_inputs, build
from cascade_server.engines.gpu.trt import TensorRT
from cascade_server.errors import GpuError, PlanError

from tests.server.engines.gpu.conftest import Both
from tests.server.engines.gpu.fake_tensorrt import FakeTensorRT, Flag, Pool


def fake(**settings: object) -> TensorRT:
    module = FakeTensorRT(**settings)  # type: ignore[arg-type]
    return TensorRT("tensorrt", module.__version__, module)


class TestConfiguration:
    """Profiles, flags and limits."""

    def test_each_bucket_has_a_profile_of_its_one_size(self, both: Both) -> None:
        kit = fake()
        model = graphs.straight(both.release.student)
        build(kit, model, BuildConfig(buckets=(1, 16)), "the student")
        slots, noise = both.cpu.slots, both.cpu.student_noise
        (settings,) = kit.module.built
        assert [profile.shapes for profile in settings.profiles] == [
            {
                "tokens": ((rows, slots),) * 3,
                "observed": ((rows, slots),) * 3,
                "noise": ((rows, noise),) * 3,
            }
            for rows in (1, 16)
        ]

    def test_what_is_no_batch_has_no_profile(self, both: Both) -> None:
        model = graphs.teacher_pass(both.release.teacher)
        assert batch_inputs(model).keys() == {"tokens", "at", "noise"}

    @pytest.mark.parametrize("tf32", [False, True])
    def test_networks_are_strongly_typed_and_tf32_is_a_choice(self, both: Both, tf32: bool) -> None:
        kit = fake()
        config = BuildConfig((1,), workspace_mib=64, level=5, tf32=tf32)
        build(kit, graphs.straight(both.release.student), config, "the student")
        (settings,) = kit.module.built
        assert kit.module.network_flags == [1 << 1]
        assert (Flag.TF32 in settings.flags) == tf32
        assert settings.builder_optimization_level == 5
        assert settings.limits == {Pool.WORKSPACE: 64 * MIB}

    @pytest.mark.parametrize("buckets", [(), (0, 1), (16, 1), (1, 1)])
    def test_buckets_increase_from_one(self, buckets: tuple[int, ...]) -> None:
        with pytest.raises(PlanError, match="allowed: whole numbers from 1, increasing"):
            BuildConfig(buckets)


class TestTimingCache:
    """What was timed is kept, and given to the next build."""

    def test_the_second_build_begins_with_what_the_first_timed(
        self, both: Both, tmp_path: Path
    ) -> None:
        kit, model = fake(), graphs.straight(both.release.student)
        config = BuildConfig((1,), timing_cache=tmp_path / "new" / "card.timing")
        for expected in (b"a card:1;", b"a card:1;a card:1;"):
            build(kit, model, config, "the student")
            assert config.timing_cache.read_bytes() == expected
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["card.timing"]

    def test_timings_of_another_card_are_begun_anew(self, both: Both, tmp_path: Path) -> None:
        path = tmp_path / "card.timing"
        path.write_bytes(b"another card:9;")
        model = graphs.straight(both.release.student)
        build(fake(), model, BuildConfig((1,), timing_cache=path), "the student")
        assert path.read_bytes() == b"a card:1;"


class TestRefusals:
    """What TensorRT says becomes the message."""

    def test_a_graph_that_it_cannot_parse(self, both: Both) -> None:
        expected = "TensorRT 10.13.3 cannot parse the student: an If is not supported here"
        with pytest.raises(PlanError, match=expected):
            build(fake(), both.release.student, BuildConfig((1,)), "the student")

    def test_a_build_that_fails(self, both: Both) -> None:
        kit = fake(refuses="no kernel for this GPU")
        model = graphs.straight(both.release.student)
        expected = "TensorRT 10.13.3 cannot build the student: no kernel for this GPU"
        with pytest.raises(PlanError, match=expected):
            build(kit, model, BuildConfig((1,)), "the student")


class TestShim:
    """One place that imports TensorRT, under whichever name."""

    def test_none_is_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in trt.MODULES:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(GpuError, match=r"tensorrt is not installed; run: pip install"):
            trt.tensorrt()

    @pytest.mark.parametrize(
        ("name", "named"),
        [
            ("tensorrt", "TensorRT 10.13.3"),
            ("tensorrt_rtx", "TensorRT-RTX 10.13.3"),
            ("tensorrt_rtx_bindings", "TensorRT-RTX 10.13.3"),
        ],
    )
    def test_either_is_found(self, monkeypatch: pytest.MonkeyPatch, name: str, named: str) -> None:
        for other in trt.MODULES:
            monkeypatch.setitem(sys.modules, other, None)
        monkeypatch.setitem(sys.modules, name, FakeTensorRT())  # type: ignore[arg-type]
        found = trt.tensorrt()
        assert found.named == named
        other = "tensorrt" if found.flavour == "tensorrt_rtx" else "tensorrt_rtx"
        with pytest.raises(GpuError, match=f"{other} is not installed"):
            trt.tensorrt(other)

    def test_a_runtime_without_a_builder_is_not_enough(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in trt.MODULES:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, "tensorrt", sys)
        with pytest.raises(GpuError, match="the module tensorrt has no Builder"):
            trt.tensorrt()


@pytest.mark.parametrize("precision", graphs.PRECISIONS)
def test_the_real_tensorrt_rtx_builds_both_tiers_without_a_gpu(
    both: Both, tmp_path: Path, precision: str
) -> None:
    try:
        kit = trt.tensorrt("tensorrt_rtx")
    except GpuError as exc:
        pytest.skip(str(exc))
    config = BuildConfig((1, 16), timing_cache=tmp_path / "timing")
    models = (
        graphs.straight(both.release.student),
        graphs.teacher_pass(both.release.teacher),
    )
    for model in models:
        graph = graphs.with_precision(model, precision)
        assert len(build(kit, graph, config, "a network")) > 1000
