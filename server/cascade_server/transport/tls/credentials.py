"""The server's certificate, as new connections get it: read anew when its files have changed."""

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
    """What is known of some files.

    A pair is written as two files, and who looks in between finds a key that is not the
    certificate's. So what has changed is read once it has stayed the same from one look to the
    next.

    Attributes:
        judged: as they were when what is used now was read; None: what was read last was refused.
            Not all that mends it is seen in a file, as a disk that can be read again: it is tried
            again at each look.
        seen: as they were at the last look.
    """

    judged: Fingerprint | None
    seen: Fingerprint

    def look(self, now: Fingerprint, at_once: bool = False) -> tuple[Watch, bool]:
        """After another look.

        Args:
            now: as they are.
            at_once: whether somebody has said that they are ready: then they are read, whether or
                not they look as they did.

        Returns:
            What is known if they are not read, or are and are sound; and whether they are to be.
        """
        if not at_once and (now == self.judged or now != self.seen):
            return Watch(self.judged, now), False
        return Watch(now, now), True

    def refused(self) -> Watch:
        """After what was read has been found to be none."""
        return Watch(None, self.seen)


class Credentials:
    """A server's certificate and key, and who vouches for its clients.

    Connections that are open keep what they were made with. A new pair that is not sound is
    refused, which is logged, and the one before goes on being used. It is tried again at each look,
    and what is wrong with it is said once, until something else is.

    Attributes:
        pem: as it was read.
        context: of it, for the next connection.
        holds: when the certificate holds.
        refused: why the files as they are now are not used; None: they are.

    Args:
        files: where they are.
        clock: seconds since 1970.

    Raises:
        ConfigError: they are not sound, and there are none from before.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.time) -> None:
        self.files, self._clock = files, clock
        # Before they are read: what changes meanwhile is found at the next look.
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
        """Those of the settings; None: the server speaks no TLS."""
        files = TlsFiles.of(config)
        return None if files is None else cls(files)

    def _read(self) -> tuple[Pem, ssl.SSLContext, Validity]:
        try:
            pem = read(self.files)
            return pem, *context_of(pem, self.files)
        except (OSError, ValueError) as exc:
            # `ssl.SSLError` is an OSError. A process that has hardly a descriptor left can read the
            # files and not give them to OpenSSL: no fault of theirs, and it may have some later.
            raise ConfigError(
                f"tls_certificate {self.files.certificate} and tls_key {self.files.key} cannot be "
                f"used: {getattr(exc, 'strerror', None) or exc}"
            ) from exc

    def _expired(self, holds: Validity) -> str:
        return f"the certificate in {self.files.certificate} has expired on {_date(holds.ends)}"

    def look(self, at_once: bool = False) -> bool:
        """Read the files anew if they have changed.

        Args:
            at_once: do not wait until they have stayed the same for a while.

        Returns:
            Whether new connections get another certificate from now on.
        """
        watch, is_new = self._watch.look(fingerprint(self.files), at_once)
        # Until it has turned out to be sound, what is read is to be read again.
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
        """Seconds since 1970, by which certificates hold."""
        return self._clock()

    def expose(self, told: Callable[[Callable[[], float], Callable[[], bool]], None]) -> None:
        """Have somebody told when the certificate expires, and whether a newer one was refused."""
        told(lambda: self.holds.ends, lambda: self.refused is not None)

    def start_looking(self, seconds: float) -> None:
        """Look now, and every so often from now on, in the running event loop."""
        # What a process that is started anew is given is from when the server was.
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
                # Once nobody looks, the server would be found out when its certificate has expired.
                log.exception("%s could not be looked after", self.files.certificate)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
