"""The Kubernetes manifests, as they lie there and as kustomize puts them together."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cascade_server.commands import serve
from cascade_server.configuration.sources import Effective, effective

from tests.deploy.images import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
FOLDERS = sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml"))
# Content of a ConfigMap, and values for another's chart: no resources.
OTHERS = {"cascade.yaml", "slo.yaml", "envoy.yaml", "prometheus-adapter.yaml"}

Resource = dict[str, Any]

kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not on PATH; it has kustomize in it"
)


def read(path: Path) -> list[Resource]:
    """The documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def written(folder: str) -> list[Resource]:
    """Every resource in a folder's files; not those of which there is only a patch."""
    kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
    names = [name for name in kustomization["resources"] if name.endswith(".yaml")]
    return [each for name in names for each in read(FOLDER / folder / name)]


def rendered(folder: str) -> list[Resource]:
    """What `kubectl apply -k` sends."""
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def one(resources: list[Resource], kind: str, name: str) -> Resource:
    (found,) = (
        each for each in resources if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


def container(deployment: Resource) -> Resource:
    """The only one of a deployment's pods."""
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    content: Resource = found
    return content


def settings() -> Effective:
    """Of the server's pods: their arguments, and the ConfigMap's file that these name."""
    arguments = container(one(written("server"), "Deployment", "cascade"))["args"]
    given = serve.make_context("serve", list(arguments)).params
    in_pod = given.pop("file")
    assert given.pop("print_config") is False
    (volume,) = (
        each["name"]
        for each in container(one(written("server"), "Deployment", "cascade"))["volumeMounts"]
        if each["mountPath"] == str(in_pod.parent)
    )
    assert volume == "config"
    return effective(given, {}, FOLDER / "server" / in_pod.name)


def megabytes(quantity: str) -> float:
    """Of Kubernetes's notation."""
    units = {"Mi": 1.0, "Gi": 1024.0}
    return float(quantity[:-2]) * units[quantity[-2:]]
