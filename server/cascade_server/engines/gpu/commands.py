"""`cascade compile`: builds TensorRT plans of a repository's releases for this machine's GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from cascade_tables import CascadeTablesError, ReleaseError, list_releases, load_release
from cascade_tables.errors import listing
from rich.console import Console

from cascade_server.errors import GpuError, ServerError

if TYPE_CHECKING:
    from cascade_server.engines.gpu.compiling import Outcome, Rows, Target
    from cascade_server.engines.gpu.parity import Detector

T = TypeVar("T")

TARGETS = ("tensorrt", "tensorrt_rtx")
# As in `gpu.graphs`, which imports packages that `--help` does not need.
PRECISIONS = ("auto", "fp16", "bf16", "fp32")


@click.command("compile")
@click.argument("table")
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository; the plans are written beside the graphs.",
)
@click.option(
    "--version", "number", type=int, default=0, show_default=True, help="0: the latest release."
)
@click.option(
    "--runtime",
    type=click.Choice(TARGETS),
    default=TARGETS[0],
    show_default=True,
    help="What builds the plans, and is to run them.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=PRECISIONS[0],
    show_default=True,
    help="Of the large matrix products; auto: the first, in this order, that passes the gate.",
)
@click.option(
    "--rows", type=click.IntRange(1000), default=100_000, show_default=True, help="Compared."
)
@click.option("--threads", type=int, default=0, help="Of the reference; 0: one a core.")
def compile_plans(
    table: str, repository: Path, number: int, runtime: str, precision: str, rows: int, threads: int
) -> None:
    """Compile a release for this machine's GPU.

    Builds TensorRT plans of the student and of the teacher's pass, draws with them and with the
    embedded runtime from equal noise, and releases what draws the same: at least 99.5 % of rows
    equal, and a detector that cannot tell the two apart. `cascade serve` uses a plan only on the
    GPU model and the TensorRT version it was built with.

    \b
    Example:
      cascade compile credit --runtime tensorrt
      cascade compile credit --precision fp32
      cascade serve --runtime tensorrt
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        _compile(table, repository, number, runtime, precision, rows, threads, console.print)
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`cascade compile` needs the Python package {exc.name!r}, which is not installed; "
            "run: pip install 'cascade-synthesis[gpu]'"
        ) from exc
    except (ServerError, CascadeTablesError) as exc:
        raise click.ClickException(str(exc)) from exc


def _compile(
    table: str,
    repository: Path,
    number: int,
    flavour: str,
    precision: str,
    rows: int,
    threads: int,
    say: Callable[[str], None],
) -> None:
    from cascade_server.engines.gpu import compiling
    from cascade_server.engines.runtime import Runtime
    from cascade_server.terms import Tier

    versions = list_releases(repository).get(table, [])
    if not versions:
        known = listing(list_releases(repository))
        raise ReleaseError(f"{repository} has no release of {table!r}; it has: {known or 'none'}")
    release = load_release(repository, table, number or versions[-1])
    target, detector = _needed(flavour, threads)
    name = f"{table} v{release.manifest.version}"
    say(f"{name} for {target.gpu.name} with {target.trt.named}")
    tiers = (Tier.STUDENT, Tier.TEACHER)

    @cache
    def expected() -> Rows:  # called once something was built: TensorRT may refuse the GPU
        say(f"drawing {rows:,} rows with the embedded runtime, to compare with")
        return compiling.reference(Runtime(release, threads), tiers, rows)

    for tier in tiers:
        compiling.compile_tier(
            *(release, repository, tier, precision, target, expected, detector),
            lambda outcome: say(told(outcome)),
        )


def _needed(flavour: str, threads: int) -> tuple[Target, Detector]:
    """Find TensorRT, the GPU and the gate's detector.

    Raises:
        GpuError: something is missing; lists everything that is, and how to get it.
    """
    from cascade_server.engines.gpu.builder import BuildConfig
    from cascade_server.engines.gpu.compiling import Target
    from cascade_server.engines.gpu.device import CudaDevice
    from cascade_server.engines.gpu.opening import cache_folder
    from cascade_server.engines.gpu.parity import xgboost_detector
    from cascade_server.engines.gpu.plans import stem
    from cascade_server.engines.gpu.trt import tensorrt

    missing: list[str] = []

    def had(find: Callable[[], T]) -> T | None:
        try:
            return find()
        except GpuError as exc:
            missing.append(str(exc))
            return None

    device = had(CudaDevice)
    trt = had(lambda: tensorrt(flavour))
    detector = had(lambda: xgboost_detector(threads))
    if device is None or trt is None or detector is None:
        lines = "".join(f"\n  - {each}" for each in missing)
        raise GpuError(f"plans cannot be compiled here:{lines}")
    gpu = device.gpu
    stamp = stem(trt.flavour, trt.version, gpu.name, gpu.compute_capability)
    config = BuildConfig(timing_cache=cache_folder() / f"{stamp}.timing")
    return Target(trt, gpu, device, config), detector


def told(outcome: Outcome) -> str:
    """Return a line of output for the outcome of a plan."""
    parity = outcome.parity
    measured = (
        f"{100 * parity.equal:.3f} % of {parity.rows:,} rows equal, detector's AUC {parity.auc:.4f}"
    )
    if outcome.path is None:
        return f"{outcome.tier} {outcome.precision}: not released: {', '.join(parity.failures)}"
    return f"{outcome.tier} {outcome.precision}: {measured}; wrote {outcome.path}"
