"""The teacher of 'credit' in Triton; see Cascade's docs/triton.md."""

from cascade_server.triton_models.teacher import TritonPythonModel

__all__ = ["TritonPythonModel"]
