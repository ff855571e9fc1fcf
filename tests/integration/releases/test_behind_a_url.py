"""A repository that is not on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_client import InvalidRequest, NotFound
from cascade_tables.releases.remote import RemoteRepository

from tests.integration.releases.served import damage, serve, states, version_of
from tests.releases import TABLE
from tests.typed import typed


class TestBehindAURL:
    """A repository that is not on this machine; `file://` goes the same way as `s3://`."""

    def test_serve_load_and_refuse(
        self, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        url = f"file://{tmp_path}/remote"
        remote = RemoteRepository(url)
        remote.publish(releases, TABLE, 1)
        with serve("--repository", url, "--pool-mib", "0") as served, served.client() as client:
            assert version_of(client) == 1
            remote.publish(releases, TABLE, 2)
            remote.publish(releases, "shops", 1)
            damage(tmp_path / "remote", 2)
            with pytest.raises(InvalidRequest, match=r"file://.*model\.onnx is damaged"):
                client.releases.load(TABLE, 2)
            assert states(client)[TABLE, 2] == "refused"
            assert client.releases.load("shops").answering("shops") == 1
            remote.publish(releases, TABLE, 3)
            with pytest.raises(InvalidRequest, match=r"onnx is damaged.*; all else is loaded"):
                client.releases.load()
            assert version_of(client) == 3
            with pytest.raises(NotFound, match="no version 9"):
                client.releases.load(TABLE, 9)

    def test_one_that_cannot_be_reached_is_named(self, tmp_path: Path) -> None:
        done = typed("serve", "--port", "0", "--repository", f"file://{tmp_path}/nothing")
        assert done.returncode == 1
        assert f"model repository file://{tmp_path}/nothing holds no release" in done.stderr
