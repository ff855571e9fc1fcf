"""Converts messages to values and back: Cascade's rows, and Open Inference Protocol tensors."""
