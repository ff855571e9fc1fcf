"""Rows that users ask about: those of the bundled tables."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from locust import User, events
from locust.env import Environment

from cascade_loadtest.bundled import TARGETS, bundled_rows


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--table",
        choices=sorted(TARGETS),
        default="credit",
        env_var="LOADTEST_TABLE",
        help="The bundled table that is asked for",
    )


@events.init.add_listener
def _read_rows(environment: Environment, **_: Any) -> None:
    # Before there are users: they would all wait for it.
    if environment.parsed_options is not None:
        bundled_rows(environment.parsed_options.table)


def table_of(user: User) -> str:
    """The table that a user asks for."""
    options = user.environment.parsed_options
    return options.table if options is not None else "credit"


def target_of(user: User) -> str:
    """HOST:PORT of what was typed as the host, on the command line or on Locust's page."""
    return (user.host or "").removeprefix("http://").removeprefix("https://").rstrip("/")
