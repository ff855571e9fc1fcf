"""What we rely on of the Kubernetes manifests, held against the server that there is."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import yaml
from cascade_cli.program import main
from cascade_client import Client
from cascade_server.configuration.shown import written_anew
from cascade_server.configuration.sources import effective
from cascade_server.health.service import LIVENESS
from cascade_server.objectives.objective import load_slo
from cascade_server.server import SERVICES
from cascade_server.supervision.supervisor import KILL_AFTER
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.images import ROOT, stages
from tests.deploy.manifests import (
    FOLDER,
    FOLDERS,
    OTHERS,
    Resource,
    container,
    kubectl,
    megabytes,
    one,
    read,
    rendered,
    settings,
    written,
)
from tests.integration.serving import Served, serve
from tests.releases import TABLE, make_release

# The oldest that has all that is used here (a preStop that sleeps), and the newest there is.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
# The Prometheus Operator's, of which Kubernetes has no schema.
OPERATOR = "monitoring.coreos.com/v1"
SERVER = written("server")
DEPLOYMENT = one(SERVER, "Deployment", "cascade")
POD = DEPLOYMENT["spec"]["template"]
CONTAINER = container(DEPLOYMENT)
GIVEN = settings()
PORTS = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def validate(resources: list[Resource], version: str) -> int:
    """Against Kubernetes's own schemas, in which nothing may be that they do not know."""
    checked = 0
    for each in resources:
        if each["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(each, version, strict=True)
            checked += 1
    return checked


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pod's own file; folders and ports are those of this machine."""
    folder: Path = tmp_path_factory.mktemp("pod")
    make_release(folder / "models")
    here = {
        "host": "127.0.0.1",
        "port": "0",
        "metrics_port": "0",
        "repository": folder / "models",
        "slo": FOLDER / "server" / "slo.yaml",
        "state_dir": folder,
    }
    assert all(GIVEN.found[name].source != "default" for name in here)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in here.items()]
    with serve(f"--config={FOLDER / 'server' / 'cascade.yaml'}", *options) as served:
        yield served


class TestSchemas:
    """Every resource is one that Kubernetes knows, field by field."""

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("folder", ["server", "envoy"])
    def test_files(self, folder: str, version: str) -> None:
        assert validate(written(folder), version) >= 3

    @kubectl
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("folder", FOLDERS)
    def test_what_is_applied(self, folder: str, version: str) -> None:
        resources = rendered(folder)
        assert validate(resources, version) > 0 or folder == "monitoring"
        assert all("namespace" not in each["metadata"] for each in resources)

    def test_a_field_that_there_is_not_is_found(self) -> None:
        wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 3}}
        with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
            validate([wrong], VERSIONS[0])

    def test_every_file_is_part_of_something(self) -> None:
        for folder in FOLDERS:
            text = (FOLDER / folder / "kustomization.yaml").read_text()
            for path in (FOLDER / folder).glob("*.yaml"):
                assert path.name in text or path.name in {"kustomization.yaml", *OTHERS}


class TestTheServer:
    """The arguments, ports and probes of the pods, against a server that is started with them."""

    def test_probes_ask_what_the_server_answers(self, served: Served) -> None:
        with grpc.insecure_channel(served.target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for probe in PROBES:
                asked = CONTAINER[probe]["grpc"]
                assert asked["port"] == PORTS["grpc"]
                name = asked.get("service", "")
                assert name in ("", LIVENESS, *SERVICES)
                request = health_pb2.HealthCheckRequest(service=name)
                answer = stub.Check(request, timeout=60)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def test_the_autoscalers_metric_is_there(self, served: Served) -> None:
        """By the name and with the labels of the adapter's query, which makes the metric of it."""
        with Client(served.target, timeout=60) as client:
            for _ in range(3):
                client.synthesize(TABLE, {"items": 3}, fidelity="fast")
        said = served.until_said("metrics on")
        (address,) = re.findall(r"http://\S+", said)
        with urllib.request.urlopen(address, timeout=60) as response:
            text = response.read().decode()
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        (rule,) = read(FOLDER / "monitoring" / "prometheus-adapter.yaml")[0]["rules"]["custom"]
        ((series, matchers),) = re.findall(r"^(\w+)\{(.*)\}$", rule["seriesQuery"])
        # Prometheus adds these to what it scrapes of a pod; the rule maps them to resources.
        assert set(re.findall(r"(\w+)!=", matchers)) == set(rule["resources"]["overrides"])
        found = [each for each in samples if each.name == series]
        assert "<<.Series>>{<<.LabelMatchers>>,class!=" in rule["metricsQuery"]
        (left_out,) = re.findall('class!="(.*?)"', rule["metricsQuery"])
        assert left_out in {each.labels["class"] for each in found}
        assert sum(each.value for each in found if each.labels["class"] != left_out) > 0
        (metric,) = one(SERVER, "HorizontalPodAutoscaler", "cascade")["spec"]["metrics"]
        assert metric["pods"]["metric"]["name"] == rule["name"]["as"]

    def test_ports(self) -> None:
        image = stages(ROOT / "Dockerfile")["cpu"]
        assert [GIVEN["port"], GIVEN["metrics_port"]] == [PORTS["grpc"], PORTS["metrics"]]
        assert str(GIVEN["port"]) == image.one("EXPOSE")
        assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(PORTS["metrics"])
        for each in SERVER:
            if each["kind"] == "Service":
                (port,) = each["spec"]["ports"]
                assert (port["port"], port["targetPort"]) == (PORTS["grpc"], "grpc")

    def test_every_folder_it_is_given_is_one_it_has(self) -> None:
        mounts = {each["mountPath"]: each for each in CONTAINER["volumeMounts"]}
        assert GIVEN["slo"].parent == Path("/etc/cascade")
        assert str(GIVEN["slo"].parent) in mounts
        assert "readOnly" not in mounts[str(GIVEN["state_dir"])]
        assert "readOnly" not in mounts["/tmp"]
        volumes = {each["name"]: each for each in POD["spec"]["volumes"]}
        assert {each["name"] for each in mounts.values()} == set(volumes)
        config = volumes["config"]["configMap"]["name"]
        (made,) = read(FOLDER / "server" / "kustomization.yaml")[0]["configMapGenerator"]
        assert (made["name"], made["files"]) == (config, ["cascade.yaml", GIVEN["slo"].name])

    def test_no_jobs_are_taken_that_would_go_with_the_pod(self) -> None:
        """Nor that another pod, which may be asked for them, knows nothing of."""
        (state,) = (each for each in POD["spec"]["volumes"] if each["name"] == "state")
        assert "emptyDir" in state
        assert GIVEN["max_jobs"] == 0

    def test_its_settings_are_the_servers(self) -> None:
        """`settings` has read them with the program's own reader; what is there changes something,
        or is told to stay as Envoy's and the pod's numbers are."""
        defaults = effective({}, {})
        given = {name for name, each in GIVEN.found.items() if each.source != "default"}
        assert len(given) > 8
        same = {name for name in given if GIVEN[name] == defaults[name]}
        assert same == {"port", "teacher_threads", "max_concurrent_streams"}

    def test_what_is_said_of_its_settings_is_what_the_program_says(self) -> None:
        """`make configuration` writes the ConfigMap's file of the declaration of the settings."""
        path = FOLDER / "server" / "cascade.yaml"
        assert path.read_text() == written_anew(path)
        assert path.read_text().startswith("# The pods' settings")

    def test_the_image_runs_as_the_pod_does(self) -> None:
        context = {**POD["spec"]["securityContext"], **CONTAINER["securityContext"]}
        assert str(context["runAsUser"]) == stages(ROOT / "Dockerfile")["cpu"].one("USER")
        assert context["runAsNonRoot"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


class TestLife:
    """Rolling out, draining, sizes."""

    def test_a_drain_is_over_before_the_pod_is_killed(self) -> None:
        """Workers first, then the teacher, each of which is killed when it takes longer."""
        before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
        ends = before + GIVEN["drain_seconds"] + 2 * KILL_AFTER
        assert POD["spec"]["terminationGracePeriodSeconds"] > ends

    def test_a_core_for_each_that_computes(self) -> None:
        for of in ("requests", "limits"):
            cores = int(CONTAINER["resources"][of]["cpu"])
            assert cores == GIVEN["workers"] + GIVEN["teacher_threads"]
        assert CONTAINER["resources"]["requests"] == CONTAINER["resources"]["limits"]

    def test_memory_is_beyond_what_pool_and_cache_may_take(self) -> None:
        of_each = GIVEN["pool_mib"] + GIVEN["cache_mib"]
        assert (
            megabytes(CONTAINER["resources"]["limits"]["memory"]) > 2 * of_each * GIVEN["workers"]
        )

    def test_an_old_pod_stays_until_a_new_one_is_ready(self) -> None:
        assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        budget = one(SERVER, "PodDisruptionBudget", "cascade")["spec"]
        autoscaler = one(SERVER, "HorizontalPodAutoscaler", "cascade")["spec"]
        assert budget["maxUnavailable"] < autoscaler["minReplicas"]
        target = autoscaler["scaleTargetRef"]
        assert [target[key] for key in ("apiVersion", "kind", "name")] == [
            DEPLOYMENT["apiVersion"],
            DEPLOYMENT["kind"],
            DEPLOYMENT["metadata"]["name"],
        ]
        # Otherwise each `kubectl apply` would undo what the autoscaler has done.
        assert "replicas" not in DEPLOYMENT["spec"]

    def test_all_that_selects_selects_the_pods(self) -> None:
        labels = POD["metadata"]["labels"]
        assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
        assert (
            one(SERVER, "PodDisruptionBudget", "cascade")["spec"]["selector"]["matchLabels"]
            == labels
        )
        for name in ("cascade", "cascade-headless"):
            assert one(SERVER, "Service", name)["spec"]["selector"] == labels
        monitor = one(written("monitoring"), "PodMonitor", "cascade")
        assert monitor["spec"]["selector"]["matchLabels"] == labels
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in PORTS
        assert one(SERVER, "Service", "cascade-headless")["spec"]["clusterIP"] == "None"

    def test_callers_come_back_to_pods_that_are_new(self) -> None:
        """Callers of the headless service look its name up again only when a connection ends."""
        assert GIVEN["max_connection_age"] is not None


class TestObjectives:
    """slo.yaml, and the rules that are made of it."""

    def test_the_file_is_what_the_server_reads(self) -> None:
        assert load_slo(FOLDER / "server" / "slo.yaml").service == "cascade"

    def test_rules_are_those_of_the_objectives(self) -> None:
        options = ["--slo", FOLDER / "server" / "slo.yaml", "--kubernetes", "cascade"]
        words = ["slo", "rules", *map(str, options), "--repository", str(ROOT / "model_repository")]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0
        found = (FOLDER / "monitoring" / "prometheusrule.yaml").read_text()
        assert found == done.stdout, "they are not; run: make manifests"
        rule = yaml.safe_load(found)
        assert (rule["apiVersion"], rule["kind"]) == (OPERATOR, "PrometheusRule")
        assert all(group["rules"] for group in rule["spec"]["groups"])


@kubectl
class TestVariants:
    """The same pods with something more."""

    def test_releases_of_ones_own(self) -> None:
        spec = one(rendered("models"), "Deployment", "cascade")["spec"]["template"]["spec"]
        (first,), (server,) = spec["initContainers"], spec["containers"]
        assert first["image"].startswith("registry.example.com/cascade-models:")
        (to,) = first["volumeMounts"]
        (of,) = (each for each in server["volumeMounts"] if each["name"] == to["name"])
        assert of["mountPath"] == str(GIVEN["repository"])
        assert of["readOnly"]
        assert first["command"][-1] == to["mountPath"]
        assert server["args"] == CONTAINER["args"]
        image = stages(ROOT / "deploy/models.Dockerfile")["0"]
        assert image.one("COPY").split()[-1] == "/models"
        assert first["command"][-2] == "/models/."

    def test_a_gpu(self) -> None:
        found: dict[str, Any] = {
            folder: container(one(rendered(folder), "Deployment", "cascade"))
            for folder in ("server", "gpu")
        }
        limits = found["gpu"]["resources"]["limits"]
        assert limits["nvidia.com/gpu"] == "1"
        assert limits["cpu"] == found["server"]["resources"]["limits"]["cpu"]
        assert found["gpu"]["image"] == found["server"]["image"] + "-gpu"
