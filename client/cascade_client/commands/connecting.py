"""How a command finds its server, and what it says when that does not answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cascade_client.calls.base import DEFAULT_TARGET
from cascade_client.errors import CascadeError, Unavailable
from cascade_client.release_control import SOCKET

API_KEY = f"{__name__}.api_key"
MOST_KEY_BYTES = 16_384


def _keep_key(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Keep the key of a file for the command; nobody else sees it: it is no argument, which all
    who list processes would see."""
    if path is None:
        return
    try:
        with path.open("rb") as file:
            content = file.read(MOST_KEY_BYTES)
        context.meta[API_KEY] = content.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text of ASCII"
        raise click.UsageError(f"--api-key-file {path} cannot be read: {why}") from exc
    if not context.meta[API_KEY]:
        raise click.UsageError(f"--api-key-file {path} is empty")


def command_key() -> str | None:
    """The key that the command was given; None: none, and CASCADE_API_KEY holds."""
    found: str | None = click.get_current_context().meta.get(API_KEY)
    return found


_key_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_keep_key,
    expose_value=False,
    help="A file with the API key, or a token, where the server asks who you are; else "
    "CASCADE_API_KEY.",
)
_target_option = click.option(
    "--target",
    default=DEFAULT_TARGET,
    envvar="CASCADE_TARGET",
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="The server.",
)


def target_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name a server, and show it who asks; the command is given `target`."""
    return _target_option(_key_option(command))


TARGET_OF_GROUP = f"{__name__}.target"
# Bytes of a Unix socket's path that Linux takes.
LONGEST_PATH = 107

Command = Callable[..., None]


def control_options(command: Command) -> Command:
    """Options that name a server whose releases are to be changed; the command is given `target`.

    Given to the group they hold for its commands, which may name another server.
    """

    @target_option
    @click.option(
        "--socket",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The server's control socket, where it takes no control over the network.",
    )
    @click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help=f"The server's --state-dir, which has the socket as {SOCKET}.",
    )
    @wraps(command)
    def with_target(
        *arguments: Any,
        target: str,
        socket: Path | None,
        state_dir: Path | None,
        **options: Any,
    ) -> None:
        context = click.get_current_context()
        named = context.get_parameter_source("target") is ParameterSource.COMMANDLINE
        if named + (socket is not None) + (state_dir is not None) > 1:
            raise click.UsageError(
                "--target, --socket and --state-dir each name a server: give one of them"
            )
        if state_dir is not None:
            socket = state_dir / SOCKET
        if socket is not None:
            target = unix_target(socket)
        elif not named:
            target = context.meta.get(TARGET_OF_GROUP, target)
        if isinstance(context.command, click.Group) and (named or socket is not None):
            context.meta[TARGET_OF_GROUP] = target
        command(*arguments, target=target, **options)

    return with_target


def unix_target(path: Path) -> str:
    """A Unix socket, as gRPC names it.

    Raises:
        click.UsageError: the path is longer than a socket's may be.
    """
    absolute = path.absolute()
    if len(os.fsencode(absolute)) > LONGEST_PATH:
        raise click.UsageError(
            f"{absolute} is longer than the {LONGEST_PATH} bytes that a socket's path may have; "
            "name it from a folder that is nearer"
        )
    return f"unix:{absolute}"


class AskFailed(click.ClickException):
    """What the server or the client said, in words for a terminal; exit code 1."""

    def __init__(self, error: CascadeError) -> None:
        if isinstance(error, Unavailable):
            other = "--target HOST:PORT"
            if str(error).startswith("unix:"):
                other = "--socket PATH, --state-dir PATH or --target HOST:PORT"
            message = (
                f"no server is ready at {error}\n"
                f"Start one with `cascade serve`, or name another with {other}."
            )
        else:
            message = str(error)
        super().__init__(message)
