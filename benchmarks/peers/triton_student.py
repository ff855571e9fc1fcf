"""The smallest student that Triton can serve: tokens in, tokens out, with noise of its own.

What a table's models are measured against: the Python backend's own cost and one run of the graph.
"""

from __future__ import annotations

from pathlib import Path

from cascade_tables import Release

NAME = "student"
MAX_BATCH = 64

CONFIG = """\
name: "student"
backend: "python"
max_batch_size: {max_batch}
dynamic_batching {{ }}
instance_group [ {{ count: {instances}, kind: KIND_CPU }} ]
input [
  {{ name: "tokens", data_type: TYPE_INT32, dims: [ {slots} ] }},
  {{ name: "observed", data_type: TYPE_BOOL, dims: [ {slots} ] }}
]
output [ {{ name: "drawn", data_type: TYPE_INT32, dims: [ {slots} ] }} ]
parameters {{ key: "noise_width", value: {{ string_value: "{noise_width}" }} }}
"""

# One run of the student a batch; the noise is made here, as in our own server.
MODEL = """\
import json
import os

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.width = int(config["parameters"]["noise_width"]["string_value"])
        self.rng = np.random.default_rng()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.onnx")
        self.run = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run

    def execute(self, requests):
        read = pb_utils.get_input_tensor_by_name
        tokens = [read(request, "tokens").as_numpy() for request in requests]
        observed = [read(request, "observed").as_numpy() for request in requests]
        rows = [len(part) for part in tokens]
        feed = {
            "tokens": np.concatenate(tokens),
            "observed": np.concatenate(observed),
            "noise": self.rng.random((sum(rows), self.width), dtype=np.float32),
        }
        drawn = self.run(None, feed)[0]
        parts = np.split(drawn, np.cumsum(rows)[:-1])
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("drawn", part)]) for part in parts
        ]
"""


def write_student(folder: Path, release: Release, instances: int = 1) -> None:
    """A release's student as a model named `NAME`, in a model repository."""
    version = folder / NAME / "1"
    version.mkdir(parents=True)
    config = CONFIG.format(
        max_batch=MAX_BATCH,
        instances=instances,
        slots=len(release.codec.layout.sizes),
        noise_width=int(release.manifest.student["noise_width"]),
    )
    (folder / NAME / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(MODEL)
    (version / "model.onnx").write_bytes(release.student)
