"""Training, distillation and export; torch is needed here, and nowhere else."""

import os

# As in cascade_server: before ONNX Runtime is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
