"""The inference server: gRPC in front, ONNX Runtime inside, no torch."""

import os

# Must be set before ONNX Runtime is imported: otherwise it stores an identifier of this machine in
# the home folder and sends telemetry. An operator who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
