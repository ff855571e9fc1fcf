"""The student of 'credit' in Triton; see Cascade's docs/triton.md."""

from cascade_server.triton_models.student import TritonPythonModel

__all__ = ["TritonPythonModel"]
