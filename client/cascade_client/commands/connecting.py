"""How a command finds its server, and what it says when that does not answer."""

from __future__ import annotations

import click

from cascade_client.base import DEFAULT_TARGET
from cascade_client.errors import CascadeError, Unavailable

target_option = click.option(
    "--target",
    default=DEFAULT_TARGET,
    envvar="CASCADE_TARGET",
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="The server.",
)


class AskFailed(click.ClickException):
    """What the server or the client said, in words for a terminal; exit code 1."""

    def __init__(self, error: CascadeError) -> None:
        if isinstance(error, Unavailable):
            message = (
                f"no server is ready at {error}\n"
                "Start one with `cascade serve`, or name another with --target HOST:PORT."
            )
        else:
            message = str(error)
        super().__init__(message)
