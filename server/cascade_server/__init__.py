"""The inference server: gRPC in front, ONNX Runtime inside, no torch."""

import os

# Before ONNX Runtime is imported anywhere: it would keep an identifier of this machine in the home
# folder, and send what it counts. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
