"""What a worker of Ray draws and refuses; no cluster is needed for that."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cascade_jobs.errors import JobFailed
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_server.jobs.drawing import ReleaseDrawing
from cascade_server.jobs.ray_cluster import worker
from cascade_server.jobs.ray_cluster.package import ReleasePackage, pack_release
from cascade_server.jobs.ray_cluster.worker import Slab, draw_slab, installed
from cascade_tables import ReleaseError, read_manifest

from tests.releases import TABLE, make_release
from tests.server.messages import COLUMNS


@pytest.fixture(scope="module")
def own_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("of_ray")
    make_release(folder)
    return folder


@pytest.fixture
def package(own_repository: Path) -> Iterator[ReleasePackage]:
    """The release as it goes to another machine."""
    sent = pickle.dumps(pack_release(own_repository, TABLE, 1))
    yield pickle.loads(sent)
    worker._Kept.forget()


def asked(repository: Path, tier: str) -> Specification:
    return Specification(
        table=TABLE,
        version=1,
        release=read_manifest(repository, TABLE, 1).digest,
        tier=tier,
        rows=900,
        seed=5,
        seed_given=True,
        columns=COLUMNS,
    )


def slab(specification: Specification, first: int, rows: int) -> Slab:
    return Slab(specification.to_json(), first, rows, 1, installed())


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_rows_are_those_of_the_servers_own_process(
    own_repository: Path, package: ReleasePackage, tier: str
) -> None:
    specification = asked(own_repository, tier)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    local = ReleaseDrawing(own_repository, loop, None)
    try:
        expected = [
            row
            for rows in local.rows(specification, b"", Shard(0, 0, 900))
            for row in rows.to_rows()
        ]
    finally:
        local.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    found = [
        row
        for first, rows in ((0, 512), (512, 388))
        for row in draw_slab(package, b"", slab(specification, first, rows)).to_rows()
    ]
    assert found == expected


def test_a_release_is_unpacked_once_and_its_folder_goes_with_it(
    own_repository: Path, package: ReleasePackage
) -> None:
    specification = asked(own_repository, "student")
    draw_slab(package, b"", slab(specification, 0, 10))
    kept = worker._Kept.current
    assert kept is not None
    draw_slab(package, b"", slab(specification, 10, 10))
    assert worker._Kept.current is kept
    assert (kept.folder / TABLE).is_dir()
    worker._Kept.forget()
    assert not kept.folder.exists()


def test_another_version_of_cascade_is_told_from_the_servers(
    own_repository: Path, package: ReleasePackage
) -> None:
    wanted = replace(slab(asked(own_repository, "student"), 0, 10), installed="99.0")
    with pytest.raises(JobFailed, match=r"has version .* of cascade-synthesis, the server 99\.0"):
        draw_slab(package, b"", wanted)


def test_a_damaged_release_is_refused(own_repository: Path, package: ReleasePackage) -> None:
    files = {
        name: content[:-1] + b"x" if name.endswith(".onnx") else content
        for name, content in package.files.items()
    }
    wanted = slab(asked(own_repository, "student"), 0, 10)
    with pytest.raises(JobFailed, match="cannot be loaded"):
        draw_slab(replace(package, files=files), b"", wanted)


def test_another_release_under_the_name_is_refused(
    own_repository: Path, package: ReleasePackage
) -> None:
    wanted = slab(asked(own_repository, "student"), 0, 10)
    with pytest.raises(JobFailed, match=f"came as release {package.digest}, not 0123"):
        draw_slab(replace(package, digest="0123"), b"", wanted)


@pytest.mark.parametrize("name", ["../outside", "/tmp/cascade-outside", "a/../../outside"])
def test_nothing_is_written_outside_of_the_folder(
    package: ReleasePackage, tmp_path: Path, name: str
) -> None:
    odd = replace(package, files={name: b"x"})
    with pytest.raises(ReleaseError, match="leads out of its repository"):
        odd.unpack(tmp_path / "repository")
    assert not list(tmp_path.iterdir())
