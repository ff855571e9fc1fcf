"""What a release needs from the servers that run its networks; docs/protocols.md describes it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cascade_proto import inference_pb2 as pb
from cascade_tables.errors import listing

from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_server.wire.model_tensors import DRAWN, LOG_LIKELIHOOD, NOISE, OBSERVED, TOKENS

# The most rows of one batch, as for this process's own engines, and the most bytes of its noise.
MOST_ROWS = {Tier.STUDENT: 1024, Tier.TEACHER: 256}
MOST_BYTES = 4 * 2**20
# Triton's default server name, and an extension by which to recognise Triton under that name.
TRITON, TRITONS_OWN = "triton", "cuda_shared_memory"
# The first Triton that is known to survive cancelled calls; docs/remote.md lists the issues.
CANCELS_FROM = 2, 59


@dataclass(frozen=True)
class Network:
    """A release's student or teacher, as a model on another server.

    Attributes:
        table, tier, version: identify the network; the version is the release's.
        sizes: number of tokens of each of the T slots.
        noise: uniform numbers per row.
        passes: passes of the network for a row without known columns.
    """

    table: str
    tier: Tier
    version: int
    sizes: tuple[int, ...]
    noise: int
    passes: int

    @classmethod
    def of_release(cls, runtime: Runtime, tier: Tier) -> Network:
        """Return what a loaded release needs from the servers that run its student or teacher."""
        manifest, student = runtime.release.manifest, tier is Tier.STUDENT
        return cls(
            manifest.table,
            tier,
            manifest.version,
            tuple(runtime.layout.sizes),
            runtime.student_noise if student else runtime.teacher_noise,
            1 if student else runtime.steps,
        )

    @property
    def model(self) -> str:
        """The model's name on the servers."""
        return f"{self.table}_{self.tier}"

    @property
    def slots(self) -> int:
        return len(self.sizes)

    @property
    def most(self) -> int:
        """The most rows of one batch, as far as the front end is concerned."""
        return max(1, min(MOST_ROWS[self.tier], MOST_BYTES // (4 * self.noise)))

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


class Serves(NamedTuple):
    """What a server has of a network.

    Attributes:
        most: the most rows of one batch.
        scores: whether it returns log-likelihoods.
    """

    most: int
    scores: bool


def missing(network: Network, versions: Iterable[str], models: Iterable[str]) -> str | None:
    """Return what is wrong if a server has no such model or version; None if it has.

    Args:
        network: the required network.
        versions: versions of the model that are ready there; empty if there is no such model.
        models: names of the models that are ready there.
    """
    versions = list(versions)
    if not versions:
        found = listing(sorted(set(models))) or "none"
        return f"model {network.model!r} is missing; the models there are: {found}"
    if str(network.version) not in versions:
        return (
            f"model {network.model!r} has no version {network.version}, the release's; its "
            f"versions are: {listing(versions)} (Triton loads the latest alone unless its "
            "version_policy says otherwise)"
        )
    return None


def differs(network: Network, found: pb.ModelMetadataResponse) -> str | None:
    """Return how a model's tensors differ from the release's; None if they fit."""
    needed = (
        ("input", found.inputs, TOKENS, "INT32", network.slots),
        ("input", found.inputs, OBSERVED, "BOOL", network.slots),
        ("input", found.inputs, NOISE, "FP32", network.noise),
        ("output", found.outputs, DRAWN, "INT32", network.slots),
    )
    for what, tensors, name, datatype, width in needed:
        tensor = next((each for each in tensors if each.name == name), None)
        needs = f"{datatype} [n, {width}]"
        whose = f"{network} has"
        if tensor is None:
            names = listing([each.name for each in tensors]) or "none"
            return f"{whose} no {what} {name!r}, which is {needs}; its {what}s are: {names}"
        if tensor.datatype != datatype or not _may_be(tensor.shape, width):
            shape = ", ".join("n" if n < 0 else str(n) for n in tensor.shape)
            return f"{whose} {what} {name!r} as {tensor.datatype} [{shape}]; the release's: {needs}"
    return None


def serves(network: Network, found: pb.ModelMetadataResponse, max_batch_size: int) -> Serves:
    """Return what a model that fits can do; `max_batch_size` 0 means that it is unknown."""
    most = min(network.most, max_batch_size) if max_batch_size > 0 else network.most
    scores = any(
        tensor.name == LOG_LIKELIHOOD and tensor.datatype == "FP64" for tensor in found.outputs
    )
    return Serves(most, scores)


def may_cancel(name: str, version: str, extensions: Collection[str] = ()) -> bool:
    """Return whether a server that reports these properties may be sent cancellations.

    A Triton of unknown version may not: there, a cancelled call can crash the server.
    """
    if name != TRITON and TRITONS_OWN not in extensions:
        return True
    found = re.fullmatch(r"([0-9]+)\.([0-9]+)([.0-9]*)(.*)", version)
    if found is None:
        return False
    release = int(found[1]), int(found[2])
    # A pre-release build may date from before the fix.
    return release > CANCELS_FROM or (release == CANCELS_FROM and not found[4])


def _may_be(shape: Sequence[int], width: int) -> bool:
    return len(shape) == 2 and shape[0] == -1 and shape[1] in (-1, width)
