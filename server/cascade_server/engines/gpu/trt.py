"""TensorRT under any of its package names; the only module that imports it.

TensorRT and TensorRT-RTX have the same API. TensorRT has a builder for every NVIDIA GPU since
Turing and is what data centres run. TensorRT-RTX is for RTX GPUs, and finishes its plans when it
loads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from cascade_server.errors import GpuError

# Import names, in the order in which they are tried, and their flavours.
MODULES = {
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt_rtx",
    # The wheel with only the bindings of TensorRT-RTX.
    "tensorrt_rtx_bindings": "tensorrt_rtx",
}
INSTALL = {
    "tensorrt": "run: pip install 'cascade-synthesis[gpu]'",
    "tensorrt_rtx": "run: pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings",
}


@dataclass(frozen=True)
class TensorRT:
    """TensorRT, or TensorRT-RTX.

    Attributes:
        flavour: "tensorrt" or "tensorrt_rtx".
        version: of the library.
        module: the imported module.
    """

    flavour: str
    version: str
    module: Any

    @property
    def named(self) -> str:
        """TensorRT's name and version, for messages."""
        return f"{'TensorRT-RTX' if self.flavour == 'tensorrt_rtx' else 'TensorRT'} {self.version}"


def tensorrt(flavour: str | None = None) -> TensorRT:
    """Return the installed TensorRT, of the given flavour if there is one.

    Raises:
        GpuError: none is installed; says how to get it.
    """
    wanted = [name for name, kind in MODULES.items() if flavour in (None, kind)]
    broken = ""
    for name in wanted:
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as exc:  # TensorRT's own libraries are missing
            broken = f"; {name} is there but cannot be imported: {exc}"
            continue
        if usable(module):
            return TensorRT(MODULES[name], str(module.__version__), module)
        broken = f"; the module {name} has no Builder"
    flavour = flavour or "tensorrt"
    raise GpuError(f"{flavour} is not installed{broken}; {INSTALL[flavour]}")


def usable(module: ModuleType) -> bool:
    """Return whether the module is the full TensorRT; the lean runtime has no builder."""
    return hasattr(module, "Builder")
