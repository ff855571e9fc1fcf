"""The options of `cascade serve`, one for each setting."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any, TypeVar

import click

from cascade_server.config import SETTINGS
from cascade_server.configuration.shown import as_yaml
from cascade_server.settings import Setting

Function = TypeVar("Function", bound=Callable[..., Any])
_METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT", tuple: "TEXT"}


def settings_options(function: Function) -> Function:
    """Give a command an option for each setting; what is not given is None, or an empty tuple.

    Values are texts, which `effective` reads as it reads the environment's, so that a wrong one is
    refused in the same words wherever it comes from.
    """
    for each in reversed(SETTINGS):
        function = _option(each)(function)
    return function


def _option(setting: Setting) -> Callable[[Function], Function]:
    if setting.kind is bool:
        names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return click.option(names, setting.name, default=None, help=_help(setting))
    choices = f"[{'|'.join(setting.choices)}]" if setting.choices else ""
    return click.option(
        setting.flag,
        setting.name,
        multiple=setting.kind is tuple,
        metavar=setting.metavar or choices or _METAVARS.get(setting.kind, "PATH"),
        help=_help(setting),
    )


def _help(setting: Setting) -> str:
    default = [] if setting.default in (None, ()) else [f"default: {as_yaml(setting.default)}"]
    said = "; ".join([*default, setting.range] if setting.range else default)
    return f"{setting.help}  [{said}]" if said else setting.help


class SettingsCommand(click.Command):
    """A command whose help lists its options under the headings of the settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }
        for section, settings in groupby(SETTINGS, key=lambda each: each.section):
            with formatter.section(section):
                formatter.write_dl([records.pop(each.name) for each in settings])
        with formatter.section("Options"):
            formatter.write_dl(list(records.values()))
