"""A server's certificate: what is refused, and how it is replaced while the server runs."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import ssl
from pathlib import Path
from typing import NoReturn

import pytest
from cascade_server.errors import ConfigError
from cascade_server.transport.tls import contexts, credentials
from cascade_server.transport.tls.credentials import Credentials, Watch
from cascade_server.transport.tls.files import Fingerprint, Pem, TlsFiles, fingerprint
from cryptography.hazmat.primitives import serialization

from tests.certificates import Authority, Pair

A, B, C = (((1, number, 0, 9),) for number in (1, 2, 3))


class TestWatch:
    """When files that have changed are read."""

    def test_what_has_not_changed_is_not_read(self) -> None:
        assert Watch(A, A).look(A) == (Watch(A, A), False)

    def test_what_has_is_read_once_it_stays_so(self) -> None:
        """A certificate and its key are two files: between them they do not fit."""
        seen, is_new = Watch(A, A).look(B)
        assert not is_new
        seen, is_new = seen.look(C)
        assert not is_new
        seen, is_new = seen.look(C)
        assert is_new
        assert seen.look(C) == (Watch(C, C), False)

    def test_at_once_where_somebody_says_so(self) -> None:
        assert Watch(A, A).look(B, at_once=True) == (Watch(B, B), True)

    def test_who_says_that_they_are_ready_is_believed(self) -> None:
        """Not all that was mended is seen in the files."""
        assert Watch(B, B).look(B, at_once=True) == (Watch(B, B), True)

    def test_what_was_refused_is_tried_again(self) -> None:
        refused = Watch(A, A).look(B, at_once=True)[0].refused()
        assert refused.look(B) == (Watch(B, B), True)
        # What is being written meanwhile waits, as ever.
        assert refused.look(C) == (Watch(None, C), False)


class TestFingerprint:
    """What changes when files do."""

    def test_a_link_that_is_turned(self, tmp_path: Path) -> None:
        """As Kubernetes mounts a secret: files are links into `..data`, which is one itself."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "tls.crt").write_text("same")
        (tmp_path / "..data").symlink_to("one")
        (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
        files = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
        before = fingerprint(files)
        assert fingerprint(files) == before
        (tmp_path / "..tmp").symlink_to("two")
        (tmp_path / "..tmp").replace(tmp_path / "..data")
        assert fingerprint(files) != before

    def test_who_may_read_a_file(self, tmp_path: Path) -> None:
        """A key that was another user's alone is given to the server's; nobody writes it."""
        files = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
        files.key.write_text("same")
        files.key.chmod(0o600)
        before = fingerprint(files)
        files.key.chmod(0o640)
        assert fingerprint(files) != before

    def test_a_file_that_is_not_there_is_no_error(self, tmp_path: Path) -> None:
        assert fingerprint(TlsFiles(tmp_path / "a", tmp_path / "b")) == (None, None)


def installed(folder: Path, pair: Pair) -> TlsFiles:
    """Copies, which a test may change."""
    found = TlsFiles(folder / "tls.crt", folder / "tls.key")
    install(found, pair)
    return found


def install(files: TlsFiles, pair: Pair) -> None:
    """In one go each, as programs that renew certificates do."""
    for source, target in ((pair.certificate, files.certificate), (pair.key, files.key)):
        shutil.copy(source, f"{target}.new")
        os.replace(f"{target}.new", target)


class TestRefused:
    """What is no certificate, no key, or not the key of that certificate."""

    def check(self, files: TlsFiles, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            Credentials(files)

    def test_a_file_that_is_not_there(self, tmp_path: Path, pair: Pair) -> None:
        self.check(TlsFiles(tmp_path / "no", pair.key), "tls_certificate is .*no, which cannot be")
        self.check(TlsFiles(pair.certificate, tmp_path), "tls_key is .*Is a directory")

    def test_files_that_are_exchanged(self, pair: Pair) -> None:
        self.check(TlsFiles(pair.key, pair.certificate), "tls_certificate .* holds no certificate")

    def test_no_key(self, pair: Pair) -> None:
        self.check(TlsFiles(pair.certificate, pair.certificate), "tls_key .* holds no key")

    def test_another_certificates_key(self, authority: Authority, pair: Pair) -> None:
        other = authority.server()
        self.check(TlsFiles(pair.certificate, other.key), "tls_key .* not the key of the certif")

    def test_a_key_with_a_passphrase(self, tmp_path: Path, pair: Pair) -> None:
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        (tmp_path / "key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        self.check(TlsFiles(pair.certificate, tmp_path / "key"), "tls_key .* has a passphrase")

    def test_authorities_that_are_none(self, pair: Pair) -> None:
        files = TlsFiles(pair.certificate, pair.key, pair.key, "required")
        self.check(files, "tls_client_ca .* holds no certificate")

    def test_a_certificate_that_is_damaged(self, tmp_path: Path, pair: Pair) -> None:
        text = pair.certificate.read_text()
        (tmp_path / "crt").write_text(text.replace(text[100:140], "A" * 40))
        with pytest.raises(ConfigError):
            Credentials(TlsFiles(tmp_path / "crt", pair.key))

    def test_a_key_is_in_no_words(self, pair: Pair) -> None:
        found = Credentials(TlsFiles(pair.certificate, pair.key))
        assert "PRIVATE" not in repr(found.pem)


class TestLook:
    """Files that change while the server runs."""

    def test_a_new_pair_is_for_the_next_connection(
        self, tmp_path: Path, authority: Authority, pair: Pair
    ) -> None:
        files = installed(tmp_path, pair)
        found = Credentials(files)
        before, new = found.context, authority.server(days=60)
        assert not found.look()
        install(files, new)
        assert not found.look()
        assert found.look()
        assert found.context is not before
        assert found.holds.ends == new.ends
        assert found.refused is None

    def test_a_key_that_does_not_fit_is_refused_until_it_does(
        self,
        tmp_path: Path,
        authority: Authority,
        pair: Pair,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        files = installed(tmp_path, pair)
        found = Credentials(files)
        before, new = found.context, authority.server()
        shutil.copy(new.key, files.key)
        assert not found.look(at_once=True)
        assert found.context is before
        assert found.refused is not None
        assert "not the key of the certificate" in found.refused
        assert [each.levelno for each in caplog.records] == [logging.ERROR]
        assert "is kept" in caplog.text
        # Said once, not at every look.
        assert not found.look(at_once=True)
        assert len(caplog.records) == 1
        shutil.copy(new.certificate, files.certificate)
        assert found.look(at_once=True)
        assert found.refused is None

    @pytest.mark.parametrize("is_told", [False, True])
    def test_what_could_not_be_read_is_used_once_it_can_be(
        self,
        tmp_path: Path,
        authority: Authority,
        pair: Pair,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        is_told: bool,
    ) -> None:
        """And that though the files look as they did, when it was, say, their disk that failed."""
        found = Credentials(files := installed(tmp_path, pair))
        new = authority.server(days=60)
        install(files, new)

        def fails(_: TlsFiles) -> Pem:
            raise ConfigError("tls_key cannot be read: Input/output error")

        with monkeypatch.context() as broken:
            broken.setattr(credentials, "read", fails)
            assert [found.look(), found.look(), found.look()] == [False] * 3
        # Said once, though it was tried twice.
        assert caplog.text.count("Input/output error") == 1
        assert found.refused is not None
        assert found.look(at_once=is_told)
        assert found.holds.ends == new.ends
        assert found.refused is None

    @pytest.mark.parametrize(
        "exc",
        [OSError(errno.EMFILE, "Too many open files"), ssl.SSLError("odd"), ValueError("odd")],
    )
    def test_what_openssl_cannot_be_given_now_is_tried_again(
        self,
        tmp_path: Path,
        authority: Authority,
        pair: Pair,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        exc: Exception,
    ) -> None:
        """A process that has opened all files that it may can read the pair, and no more."""
        found = Credentials(files := installed(tmp_path, pair))
        new = authority.server(days=60)
        install(files, new)

        def fails(_: bytes) -> NoReturn:
            raise exc

        with monkeypatch.context() as full:
            full.setattr(contexts, "as_file", fails)
            assert not found.look(at_once=True)
            assert not found.look()
        assert str(exc.args[-1]) in (found.refused or "")
        assert caplog.text.count("new TLS files are refused") == 1
        assert found.look()
        assert found.holds.ends == new.ends
        assert found.refused is None

    async def test_somebody_looks_for_as_long_as_the_server_lives(
        self,
        tmp_path: Path,
        authority: Authority,
        pair: Pair,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Whatever goes wrong in a look, the next one is not left out."""
        found = Credentials(files := installed(tmp_path, pair))
        loop, looked = asyncio.get_running_loop(), asyncio.Event()
        looks: list[Fingerprint] = []

        def fails_once(files: TlsFiles) -> Fingerprint:
            looks.append(fingerprint(files))
            if len(looks) == 2:  # The first is that with which looking begins.
                raise MemoryError("odd")
            if len(looks) == 6:
                loop.call_soon_threadsafe(looked.set)
            return looks[-1]

        monkeypatch.setattr(credentials, "fingerprint", fails_once)
        new = authority.server(days=60)
        found.start_looking(0.001)
        install(files, new)
        await asyncio.wait_for(looked.wait(), 20)
        found.stop_looking()
        assert "could not be looked after" in caplog.text
        assert found.holds.ends == new.ends

    def test_a_pair_that_is_taken_back_is_refused_no_longer(
        self, tmp_path: Path, pair: Pair
    ) -> None:
        found = Credentials(files := installed(tmp_path, pair))
        before = found.context
        files.key.rename(tmp_path / "aside")
        assert not found.look(at_once=True)
        assert found.refused is not None
        (tmp_path / "aside").rename(files.key)
        assert [found.look(), found.look()] == [False, False]
        assert found.refused is None
        assert found.context is before

    def test_files_that_say_what_they_said_are_no_news(
        self, tmp_path: Path, pair: Pair, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        found = Credentials(installed(tmp_path, pair))
        before = found.context
        assert not found.look(at_once=True)
        assert found.context is before
        assert caplog.text == ""

    @pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----", b"\xff" * 100])
    def test_what_is_broken_is_refused(self, tmp_path: Path, pair: Pair, content: bytes) -> None:
        files = installed(tmp_path, pair)
        found = Credentials(files)
        before = found.context
        files.certificate.write_bytes(content)
        assert not found.look(at_once=True)
        assert found.context is before

    def test_files_that_are_gone_are_refused(self, tmp_path: Path, pair: Pair) -> None:
        files = installed(tmp_path, pair)
        found = Credentials(files)
        files.key.unlink()
        assert not found.look(at_once=True)
        assert "cannot be read" in (found.refused or "")

    def test_what_has_expired_does_not_replace_what_has_not(
        self, tmp_path: Path, authority: Authority, pair: Pair
    ) -> None:
        files = installed(tmp_path, pair)
        found = Credentials(files)
        install(files, authority.server(days=-1))
        assert not found.look(at_once=True)
        assert found.holds.ends == pair.ends
        assert "has expired on" in (found.refused or "")

    def test_a_server_begins_with_one_that_has_expired_and_says_so(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Clients refuse it; who mends it finds a server that is up, and why it is of no use."""
        old = authority.server(days=-1)
        Credentials(TlsFiles(old.certificate, old.key))
        assert "has expired on" in caplog.text
