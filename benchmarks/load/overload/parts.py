"""Who offers the load: the parts of the benchmark, each by itself with `--only`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FEW, MANY, FLOODS = 4, 40, 2
# Offered calls a second over capacity.
LOADS = (0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
# Where only the worst goodput beyond its peak is asked for.
HEAVY_LOADS = (0.8, 1.0, 1.5, 2.0, 3.0)


class Callers(StrEnum):
    """What is done with calls beyond those that a connection may have at once."""

    REFUSE = "refuse"  # they end at once: Client(wait_for_turn=False)
    WAIT = "wait"  # first come, first served, as gRPC's channels do by default
    SDK = "sdk"  # AsyncClient as it comes
    GRPCIO = "grpcio"  # grpc.aio's channel as it comes


@dataclass(frozen=True)
class Part:
    """One kind of callers, and every load that they offer.

    Attributes:
        name: as `--only` and the figures have it.
        ratio: the key of its worst goodput over its peak; None: it is not told.
        callers: how they behave.
        connections: that the calls go round.
        floods: endless `Generate` calls beside them.
        loads: offered calls a second over capacity.
        default: whether it is measured where nothing is said.
    """

    name: str
    ratio: str | None
    callers: Callers
    connections: int
    floods: int = 0
    loads: tuple[float, ...] = HEAVY_LOADS
    default: bool = True

    @property
    def draws(self) -> int:
        """Answers that a call asks for.

        Python's gRPC needs some .3 ms of a core for a call, more than our server for one row: it
        could not ask for three times what the server can do. So callers of a library ask for as
        much as takes the server far longer than it takes them.
        """
        return 64 if self.callers in (Callers.SDK, Callers.GRPCIO) else 1


PARTS = (
    Part("alone", "min_goodput_ratio", Callers.REFUSE, FEW, loads=LOADS),
    Part("over_many", f"min_goodput_ratio_{MANY}", Callers.REFUSE, MANY, loads=LOADS),
    Part("beside_a_flood", None, Callers.REFUSE, FEW, floods=FLOODS, loads=LOADS),
    Part("waiting", "min_goodput_ratio_waiting", Callers.WAIT, FEW),
    Part("waiting_over_many", f"min_goodput_ratio_waiting_{MANY}", Callers.WAIT, MANY),
    Part("sdk", "min_goodput_ratio_sdk", Callers.SDK, FEW),
    Part("sdk_over_many", f"min_goodput_ratio_sdk_{MANY}", Callers.SDK, MANY),
    Part("grpcio", "min_goodput_ratio_grpcio", Callers.GRPCIO, FEW, default=False),
    Part(
        "grpcio_over_many", f"min_goodput_ratio_grpcio_{MANY}", Callers.GRPCIO, MANY, default=False
    ),
)
