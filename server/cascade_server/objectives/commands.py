"""`cascade slo`: other uses of objectives, which need no running server."""

from __future__ import annotations

from pathlib import Path

import click
from cascade_tables import CascadeTablesError, list_releases

from cascade_server.errors import ServerError
from cascade_server.objectives.objective import EVERY, SloConfig, load_slo
from cascade_server.objectives.prometheus_rules import as_kubernetes, to_yaml
from cascade_server.objectives.prometheus_rules import rules as rules_of


@click.group()
def slo() -> None:
    """Work with service level objectives.

    \b
    Example:
      cascade slo rules --slo slo.yaml > cascade.rules.yml
      promtool check rules cascade.rules.yml
    """


@slo.command(short_help="Write Prometheus recording and alerting rules.")
@click.option(
    "--slo",
    "path",
    type=click.Path(path_type=Path),
    help="Objectives, a YAML file; those of docs/sla.md where not given.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository whose tables '*' stands for.",
)
@click.option(
    "--kubernetes",
    metavar="NAME",
    help="Write a PrometheusRule of this name, for the Prometheus Operator; else a rules file.",
)
def rules(path: Path | None, repository: Path, kubernetes: str | None) -> None:
    """Write Prometheus rules: recordings and burn-rate alerts, in Sloth's names.

    They are made from the counters of `cascade serve --metrics-port`. Objectives for every table
    become rules for each table of the model repository: write them again when it has another one.

    \b
    Example:
      cascade slo rules > cascade.rules.yml
      cascade slo rules --slo slo.yaml --repository /models > cascade.rules.yml
      cascade slo rules --kubernetes cascade | kubectl apply -f -
    """
    try:
        config = SloConfig() if path is None else load_slo(path)
        named = {each.table for each in config.objectives}
        tables = set(list_releases(repository)) if EVERY in named else named
        if not tables:
            raise click.ClickException(
                f"model repository {repository} holds no release, so '*' stands for no table"
            )
        document = rules_of(config, tables)
        if kubernetes is not None:
            document = as_kubernetes(document, kubernetes)
        click.echo(to_yaml(document), nl=False)
    except (ServerError, CascadeTablesError) as exc:
        raise click.ClickException(str(exc)) from exc
