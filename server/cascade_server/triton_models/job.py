"""A request of the cascade in progress inside Triton."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Route
from cascade_server.terms import Tier


@dataclass(eq=False)
class Job:
    """A request that has been read, and routed.

    Attributes:
        request: what to draw.
        wanted: names of the outputs.
        route: which tier should draw.
    """

    request: CheckedRequest
    wanted: tuple[str, ...]
    route: Route

    @property
    def tier(self) -> Tier:
        """The tier that should draw, by the route; a request without one has been refused."""
        assert self.route.option is not None
        return self.route.option.tier

    @property
    def beside(self) -> bool:
        """Whether the request involves the teacher."""
        return self.tier is Tier.TEACHER or self.request.log_likelihood
