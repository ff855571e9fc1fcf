"""Connection of a command to its server, and error messages if the server does not answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cascade_client.calls.base import DEFAULT_TARGET
from cascade_client.calls.tls import Tls
from cascade_client.client import Client
from cascade_client.errors import CascadeError, Unavailable
from cascade_client.release_control import SOCKET

TARGET_OF_GROUP = f"{__name__}.target"
# Longest path of a Unix socket in bytes on Linux.
LONGEST_PATH = 107

Command = Callable[..., None]
# Key in the metadata of a command's context and of its groups: the TLS settings, by option.
TLS_OPTIONS = f"{__name__}.tls"


API_KEY = f"{__name__}.api_key"
MOST_KEY_BYTES = 16_384


def _keep_key_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.meta[API_KEY] = path


def command_key() -> str | None:
    """Return the API key from the command's key file; None: there is none, and CASCADE_API_KEY
    applies.

    It is no argument, because everyone who lists processes would see it.

    Raises:
        click.UsageError: the file cannot be read, or holds no text that could be a key.
    """
    path: Path | None = click.get_current_context().meta.get(API_KEY)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            found = file.read(MOST_KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text of ASCII"
        raise click.UsageError(f"--api-key-file {path} cannot be read: {why}") from exc
    if not found:
        raise click.UsageError(f"--api-key-file {path} is empty")
    return found


_key_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_keep_key_file,
    expose_value=False,
    help="A file with the API key, or a token, where the server asks who you are; else "
    "CASCADE_API_KEY.",
)


def _kept(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Store a TLS option; options of a group apply to its commands unless they override them."""
    if value:
        assert option.name is not None
        context.meta.setdefault(TLS_OPTIONS, {})[option.name] = value


def _tls_option(*names: str, **more: Any) -> Callable[[Command], Command]:
    variable = "CASCADE_" + names[-1].removeprefix("--").replace("-", "_").upper()
    return click.option(
        *names,
        envvar=variable,
        show_envvar=True,
        expose_value=False,
        callback=_kept,
        **more,
    )


def target_option(command: Command) -> Command:
    """Add options for the server's address, its TLS settings and the caller's key; see
    `connect`.
    """
    options = (
        click.option(
            "--target",
            default=DEFAULT_TARGET,
            envvar="CASCADE_TARGET",
            show_default=True,
            show_envvar=True,
            metavar="HOST:PORT",
            help="The server.",
        ),
        _tls_option("--tls", is_flag=True, help="Speak TLS; --ca and --cert do so too."),
        _tls_option("--ca", metavar="FILE", help="Who vouches for the server, PEM."),
        _tls_option("--cert", metavar="FILE", help="A certificate to show to the server, PEM."),
        _tls_option("--key", metavar="FILE", help="Its private key, PEM."),
        _tls_option(
            "--server-name",
            metavar="NAME",
            help="What the server's certificate names, if not the target's host.",
        ),
        _key_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def connect(target: str, **options: Any) -> Client:
    """Return a client of the command's server, with TLS and a key as its options say.

    Args:
        target: from `target_option`. A Unix socket is local, and uses no TLS.
        options: of the client.

    Raises:
        CascadeError: the target is no address, or a TLS file cannot be read.
    """
    options = {"api_key": command_key(), **options}
    said: dict[str, Any] = click.get_current_context().meta.get(TLS_OPTIONS, {})
    if not said or target.startswith("unix:"):
        return Client(target, **options)
    names = {"cert": "certificate"}
    given = {names.get(name, name): value for name, value in said.items() if name != "tls"}
    return Client(target, tls=Tls(**given), **options)


def control_options(command: Command) -> Command:
    """Add options for a server whose releases are controlled; the command receives `target`.

    Options of a group apply to its commands, which may override the server.
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
    """Return gRPC's address of a Unix socket.

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
    """Error of the server or the client, worded for a terminal; exit code 1."""

    def __init__(self, error: CascadeError) -> None:
        if isinstance(error, Unavailable) and "no TLS could" in str(error):
            message = str(error)
        elif isinstance(error, Unavailable):
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
