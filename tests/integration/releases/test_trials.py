"""Canaries that are promoted and rolled back by what callers get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from cascade_client import Client
from cascade_tables import load_release, write_release
from onnx import helper, numpy_helper

from tests.integration.releases.served import publish, serve, version_of
from tests.releases import TABLE


class TestTrials:
    """A canary gets a share, and is judged by what callers get."""

    @staticmethod
    def refuses_seven_items(source: Path, folder: Path) -> None:
        """Version 2, whose student fails for a value that its rehearsal does not have."""
        release = load_release(source, TABLE, 2)
        model = onnx.load_from_string(release.student)
        encoded = release.codec.encode_partial({"items": [7]}, 1)
        slot = int(np.flatnonzero(encoded.observed[0])[0])
        seven = np.full((1, encoded.tokens.shape[1]), -1, np.int32)
        seven[0, slot] = encoded.tokens[0, slot]
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(seven, "seven"))
        graph.initializer.append(numpy_helper.from_array(np.array(10**6, np.int32), "nowhere"))
        at = next(i for i, node in enumerate(graph.node) if node.op_type == "Where")
        index = graph.node[at].output[0]
        graph.node[at].output[0] = "index_before"
        graph.node.insert(at + 1, helper.make_node("Equal", ["tokens", "seven"], ["is_seven"]))
        graph.node.insert(
            at + 2, helper.make_node("And", ["is_seven", "observed"], ["is_known_seven"])
        )
        where = helper.make_node("Where", ["is_known_seven", "nowhere", "index_before"], [index])
        graph.node.insert(at + 3, where)
        write_release(
            folder, release.manifest, release.codec, model.SerializeToString(), release.teacher
        )

    @staticmethod
    def ask_for(client: Client, items: int, times: int) -> set[int]:
        """Versions that answered."""
        versions = set()
        for _ in range(times):
            try:
                answer = client.synthesize(TABLE, {"items": items}, fidelity="fast")
            except Exception:
                continue
            versions.add(answer.provenance.version)
        return versions

    def test_a_bad_one_is_rolled_back(self, repository: Path, releases: Path) -> None:
        self.refuses_seven_items(releases, repository)
        options = ("--repository", str(repository), "--pool-mib", "0", "--canary-seconds", "3600")
        with serve(*options) as served, served.client() as client:
            client.releases.promote(TABLE, 1)
            report = client.releases.canary(TABLE, 2, 0.3)
            (trial,) = [each for each in report.releases if each.version == 2]
            assert (trial.canary, trial.share) == (True, 0.3)
            # Every call of the canary fails, and of no other version.
            assert self.ask_for(client, 7, 60) == {1}
            served.until_said(f"{TABLE} version 2 is rolled back: .*availability")
            assert client.releases.list().answering(TABLE) == 1
            assert self.ask_for(client, 3, 40) == {1}

    def test_a_good_one_is_promoted(self, repository: Path, releases: Path) -> None:
        options = ("--repository", str(repository), "--pool-mib", "0", "--canary-share", "50%")
        options = (*options, "--canary-seconds", "0", "--canary-calls", "30")
        options = (*options, "--slo", str(self.slack(repository.parent)), "--metrics-port", "0")
        with serve(*options) as served, served.client() as client:
            publish(releases, repository, TABLE, 2)
            report = client.releases.load()
            assert report.answering(TABLE) in (1, 2)
            assert {each.version: each.canary for each in report.releases} == {1: False, 2: True}
            assert self.ask_for(client, 3, 100) == {1, 2}
            served.until_said(f"{TABLE} version 2 is promoted: .*kept every objective")
            assert self.ask_for(client, 3, 20) == {2}
            # And back, at once.
            assert client.releases.roll_back(TABLE).answering(TABLE) == 1
            assert self.ask_for(client, 3, 20) == {1}

    @staticmethod
    def slack(folder: Path) -> Path:
        """An objective that a slow machine keeps."""
        path = folder / "slo.yaml"
        path.write_text(
            'objectives:\n  - {table: "*", class: realtime, availability: {target: 0.5}}\n'
        )
        return path

    def test_a_seed_has_one_version(self, repository: Path, releases: Path) -> None:
        publish(releases, repository, TABLE, 2)
        options = ("--repository", str(repository), "--canary-seconds", "3600")
        with serve(*options) as served, served.client() as client:
            client.releases.promote(TABLE, 1)
            client.releases.canary(TABLE, 2, 0.5)
            first = [version_of(client, seed=seed) for seed in range(30)]
            assert set(first) == {1, 2}
            assert first == [version_of(client, seed=seed) for seed in range(30)]
            # Who names a version gets it, whatever is on trial.
            assert {version_of(client, seed=seed, version=1) for seed in range(10)} == {1}
