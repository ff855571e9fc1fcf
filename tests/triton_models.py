"""A model repository that Triton can load: a release's student and teacher in its Python backend.

Spoken as in docs/protocols.md: `<table>_student` and `<table>_teacher`, versions as the releases',
noise as an input.
"""

from __future__ import annotations

import json
from pathlib import Path

from cascade_tables import Release, list_releases, load_release

MAX_BATCH = 64
CONFIG = """\
name: "{model}"
backend: "python"
max_batch_size: {max_batch}
version_policy {{ all {{ }} }}
dynamic_batching {{ }}
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
input [
  {{ name: "tokens", data_type: TYPE_INT32, dims: [ {slots} ] }},
  {{ name: "observed", data_type: TYPE_BOOL, dims: [ {slots} ] }},
  {{ name: "noise", data_type: TYPE_FP32, dims: [ {noise} ], optional: true }}
]
output [
  {{ name: "drawn", data_type: TYPE_INT32, dims: [ {slots} ] }}{more}
]
"""
LIKELIHOOD = """,
  { name: "log_likelihood", data_type: TYPE_FP64, dims: [ 1 ] }"""
PARTS = """\
import json
import os

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


def folder_of(args):
    return os.path.join(args["model_repository"], args["model_version"])


def session(args):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = os.path.join(folder_of(args), "model.onnx")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def read(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def about(args):
    with open(os.path.join(folder_of(args), "about.json")) as file:
        return json.load(file)


def noise_of(request, rows, width, rng):
    noise = read(request, "noise")
    return rng.random((rows, width), dtype=np.float32) if noise is None else noise

"""
STUDENT = (
    PARTS
    + """
class TritonPythonModel:
    def initialize(self, args):
        self.width, self.run = about(args)["noise"], session(args).run
        self.rng = np.random.default_rng()

    def execute(self, requests):
        tokens = [read(request, "tokens") for request in requests]
        observed = [read(request, "observed") for request in requests]
        noise = [
            noise_of(request, len(part), self.width, self.rng)
            for request, part in zip(requests, tokens)
        ]
        feed = {"tokens": tokens, "observed": observed, "noise": noise}
        drawn = self.run(None, {name: np.concatenate(of) for name, of in feed.items()})[0]
        parts = np.split(drawn, np.cumsum([len(part) for part in tokens])[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor("drawn", part)]) for part in parts]
"""
)
# sampling.py is this project's own, copied beside it: NumPy is all that it needs.
TEACHER = (
    PARTS
    + """
import importlib.util


class TritonPythonModel:
    def initialize(self, args):
        of = about(args)
        self.columns, self.width = of["columns"], of["noise"]
        self.order = max(self.columns) + 1
        self.run = session(args).run
        self.rng = np.random.default_rng()
        path = os.path.join(folder_of(args), "sampling.py")
        spec = importlib.util.spec_from_file_location("sampling", path)
        self.sampling = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.sampling)

    def denoise(self, tokens, observed, noise):
        feed = {"tokens": tokens, "observed": observed, "noise": noise}
        return self.run(["drawn"], feed)[0]

    def log_prob(self, tokens, observed):
        noise = np.full((len(tokens), self.width - self.order), 0.5, np.float32)
        feed = {"tokens": tokens, "observed": observed, "noise": noise}
        return self.run(["log_prob"], feed)[0]

    def answer(self, request):
        tokens, observed = read(request, "tokens"), read(request, "observed")
        wanted, out = request.requested_output_names(), []
        if "drawn" in wanted:
            noise = noise_of(request, len(tokens), self.width, self.rng)
            steps = int(json.loads(request.parameters() or "{}").get("steps", self.order))
            rows = self.sampling.sample_teacher(
                self.denoise, tokens, observed, noise, self.columns, steps
            )
            out.append(pb_utils.Tensor("drawn", rows))
        if "log_likelihood" in wanted:
            scores = self.sampling.log_likelihood(self.log_prob, tokens, observed, self.columns)
            out.append(pb_utils.Tensor("log_likelihood", scores.reshape(-1, 1)))
        return pb_utils.InferenceResponse(out)

    def execute(self, requests):
        return [self.answer(request) for request in requests]
"""
)


def write_models(folder: Path, repository: Path, max_batch: int = MAX_BATCH) -> list[str]:
    """All networks of a model repository as Triton's models; returns their names."""
    names = []
    for table, versions in list_releases(repository).items():
        for version in versions:
            release = load_release(repository, table, version)
            for tier in ("student", "teacher"):
                _write(folder / f"{table}_{tier}", release, tier, version, max_batch)
        names += [f"{table}_student", f"{table}_teacher"]
    return names


def _write(folder: Path, release: Release, tier: str, version: int, max_batch: int) -> None:
    is_student = tier == "student"
    manifest, layout = release.manifest, release.codec.layout
    noise = int((manifest.student if is_student else manifest.teacher)["noise_width"])
    at = folder / str(version)
    at.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        CONFIG.format(
            model=folder.name,
            max_batch=max_batch,
            slots=len(layout.sizes),
            noise=noise,
            more="" if is_student else LIKELIHOOD,
        )
    )
    (at / "model.py").write_text(STUDENT if is_student else TEACHER)
    (at / "model.onnx").write_bytes(release.student if is_student else release.teacher)
    of = {"noise": noise, "columns": [int(column) for column in layout.column]}
    (at / "about.json").write_text(json.dumps(of))
    if not is_student:
        import cascade_tables.sampling

        (at / "sampling.py").write_text(Path(cascade_tables.sampling.__file__).read_text())
