"""The cascade of 'credit' in Triton; see Cascade's docs/triton.md."""

from cascade_server.triton_models.cascade import TritonPythonModel

__all__ = ["TritonPythonModel"]
