"""docs/deploy.md names options, files and numbers that there are."""

from __future__ import annotations

import re

from cascade_server.commands import serve as serve_command

from tests.deploy.images import ROOT, stages
from tests.deploy.manifests import FOLDER, one, read, settings, written

PAGE = (ROOT / "docs/deploy.md").read_text()
DEPLOYMENT = one(written("server"), "Deployment", "cascade")


def test_options_are_the_servers() -> None:
    """Those of the table, and those that the container is run with."""
    known = {name for parameter in serve_command.params for name in parameter.opts}
    knobs = PAGE.partition("## Knobs")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in knobs.splitlines() if line.startswith("|")]
    named = re.findall(r"--[a-z][a-z-]+", " ".join(first))
    run = re.findall(r"^    cascade (--.*)$", PAGE, re.MULTILINE)
    assert len(named) > 5
    assert set(named) | set(re.findall(r"--[a-z-]+", run[0])) <= known


def test_targets_and_files_are_there() -> None:
    for target in re.findall(r"--target (\w+)", PAGE):
        assert target in stages(ROOT / "Dockerfile")
    for path in re.findall(r"deploy/[\w./-]*\w", PAGE):
        assert (ROOT / path).exists(), path


def test_numbers_are_the_manifests() -> None:
    grace = DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    given = settings()
    assert f"`terminationGracePeriodSeconds` ({grace})" in PAGE
    (drain,) = re.findall(r"--drain-seconds` .(\d+)", PAGE)
    assert given["drain_seconds"] == float(drain)
    assert "`--max-connection-age 300`" in PAGE
    assert given["max_connection_age"] == 300
    (metric,) = one(written("server"), "HorizontalPodAutoscaler", "cascade")["spec"]["metrics"]
    assert f"asks for {metric['pods']['target']['averageValue']} a pod" in PAGE
    (rule,) = read(FOLDER / "monitoring" / "prometheus-adapter.yaml")[0]["rules"]["custom"]
    assert f"metricsQuery: {rule['metricsQuery']}" in PAGE
