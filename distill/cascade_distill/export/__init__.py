"""Networks as ONNX graphs, written by hand."""
