"""What the figures were measured on: processors, memory, system, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = (
    "cascade-synthesis",
    "grpcio",
    "numpy",
    "onnxruntime",
    "uvloop",
    "locust",
    "hdrhistogram",
)


def machine() -> dict[str, str]:
    """By name, for people."""
    cores = os.cpu_count() or 1
    memory = psutil.virtual_memory()
    return {
        "processor": _processor(),
        "cores": f"{cores}, load {os.getloadavg()[0]:.1f} over the last minute",
        "memory": f"{memory.total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": _commit(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def command() -> str:
    """As it was typed, but for where Python is."""
    words = [Path(sys.executable).name, "-m", "cascade_loadtest", *sys.argv[1:]]
    return " ".join(
        word if word and not set(word) & set(" '\"$*") else repr(word) for word in words
    )
