"""The inference server: gRPC in front, ONNX Runtime inside, no torch."""
