"""The server's certificate for new connections, reloaded when its files change."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.transport.tls.contexts import context_of
from cascade_server.transport.tls.files import Fingerprint, Pem, TlsFiles, fingerprint, read
from cascade_server.transport.tls.validity import Validity

log = logging.getLogger("cascade.server")


@dataclass(frozen=True)
class Watch:
    """The known state of a set of files.

    A certificate and its key are two files, and a look between the two writes finds a mismatched
    pair. So changed files are read only after they have stayed the same from one look to the next.

    Attributes:
        judged: the fingerprint of the files in use; None: the files read last were refused. They
            are then tried again at each look, because a fix may not show in the fingerprint, such
            as a disk that can be read again.
        seen: the fingerprint at the last look.
    """

    judged: Fingerprint | None
    seen: Fingerprint

    def look(self, now: Fingerprint, at_once: bool = False) -> tuple[Watch, bool]:
        """Take another look.

        Args:
            now: the current fingerprint.
            at_once: whether the files are known to be ready: then they are read, changed or not.

        Returns:
            The new state, provided that the files are not read or prove valid; and whether to read
            them.
        """
        if not at_once and (now == self.judged or now != self.seen):
            return Watch(self.judged, now), False
        return Watch(now, now), True

    def refused(self) -> Watch:
        """Return the state after the files read have proved invalid."""
        return Watch(None, self.seen)


class Credentials:
    """A server's certificate and key, and the authorities of its clients.

    Open connections keep the certificate that they were made with. An invalid new pair is refused
    and logged, and the one before stays in use. The new pair is tried again at each look; the same
    error is logged only once.

    Attributes:
        pem: the content in use.
        context: its context, for the next connection.
        holds: when the certificate is valid.
        refused: why the current files are not used; None: they are.

    Args:
        files: the paths.
        clock: seconds since 1970.

    Raises:
        ConfigError: the files are invalid, and there is no earlier valid pair.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.time) -> None:
        self.files, self._clock = files, clock
        # Taken before reading: the next look then finds changes made meanwhile.
        seen = fingerprint(files)
        self._watch = Watch(seen, seen)
        self.pem, self.context, self.holds = self._read()
        self.refused: str | None = None
        self._looking: asyncio.Task[None] | None = None
        if self.holds.ends <= clock():
            log.error("%s", self._expired(self.holds))
        elif self.holds.begins > clock():
            log.warning("%s holds from %s on only", files.certificate, _date(self.holds.begins))

    @classmethod
    def of(cls, config: ServerConfig) -> Credentials | None:
        """Load the credentials of the settings; None: the server does not use TLS."""
        files = TlsFiles.of(config)
        return None if files is None else cls(files)

    def _read(self) -> tuple[Pem, ssl.SSLContext, Validity]:
        try:
            pem = read(self.files)
            return pem, *context_of(pem, self.files)
        except (OSError, ValueError) as exc:
            # `ssl.SSLError` is an OSError. A process short of file descriptors can read the files
            # but not pass them to OpenSSL. The files are not at fault, and a retry may succeed.
            raise ConfigError(
                f"tls_certificate {self.files.certificate} and tls_key {self.files.key} cannot be "
                f"used: {getattr(exc, 'strerror', None) or exc}"
            ) from exc

    def _expired(self, holds: Validity) -> str:
        return f"the certificate in {self.files.certificate} has expired on {_date(holds.ends)}"

    def look(self, at_once: bool = False) -> bool:
        """Reload the files if they have changed.

        Args:
            at_once: do not wait until they have stayed the same from one look to the next.

        Returns:
            Whether new connections now get another certificate.
        """
        watch, is_new = self._watch.look(fingerprint(self.files), at_once)
        # Until the content proves valid, it is to be read again.
        self._watch = watch.refused() if is_new else watch
        if not is_new:
            return False
        try:
            pem, context, holds = self._read()
            if holds.ends <= self._clock() < self.holds.ends:
                raise ConfigError(self._expired(holds))
        except ConfigError as exc:
            self._refuse(str(exc))
            return False
        self._watch = watch
        if pem == self.pem:
            if self.refused is not None:
                log.info("the TLS files are again those that are used")
            self.refused = None
            return False
        self.pem, self.context, self.holds, self.refused = pem, context, holds, None
        log.info("new TLS files are used; the certificate holds until %s", _date(holds.ends))
        return True

    def _refuse(self, why: str) -> None:
        if why != self.refused:
            log.error(
                "new TLS files are refused, and the certificate from before, which holds until %s, "
                "is kept: %s",
                _date(self.holds.ends),
                why,
            )
        self.refused = why

    def now(self) -> float:
        """Return the time for checking certificates, in seconds since 1970."""
        return self._clock()

    def expose(self, told: Callable[[Callable[[], float], Callable[[], bool]], None]) -> None:
        """Expose, to `told`, when the certificate expires and whether a newer one was refused."""
        told(lambda: self.holds.ends, lambda: self.refused is not None)

    def start_looking(self, seconds: float) -> None:
        """Look now and every `seconds`, in the running event loop."""
        # A restarted process inherits the content from the server's start.
        self.look(at_once=True)
        self._looking = asyncio.create_task(self._keep_looking(seconds))

    def stop_looking(self) -> None:
        """Stop polling the files."""
        if self._looking is not None:
            self._looking.cancel()

    async def _keep_looking(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                # A disk may be slow.
                await asyncio.to_thread(self.look)
            except Exception:
                # If this loop ended, the certificate would silently be used until it expired.
                log.exception("%s could not be looked after", self.files.certificate)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
