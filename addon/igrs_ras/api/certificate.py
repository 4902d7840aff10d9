"""The server's certificate, which is renewed every few weeks while the server runs."""

import logging
import ssl
from pathlib import Path

from igrs_ras.api.listen import tls_context

_LOGGER = logging.getLogger(__name__)

type _State = tuple[tuple[int, int, int], ...] | None


class Certificate:
    """The TLS context of a certificate and its key. `refresh` takes up changed files for new connections."""

    def __init__(self, certfile: Path, keyfile: Path) -> None:
        """Read the files. Raises ssl.SSLError or OSError."""
        self._files = (certfile, keyfile)
        self._loaded = self._latest = self._state()
        self.context = tls_context(certfile, keyfile)

    def _state(self) -> _State:
        try:
            found = [file.stat() for file in self._files]
        except OSError:
            return None
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def refresh(self) -> None:
        """Take up the files if they changed and have come to rest: one is written after the other."""
        before, self._latest = self._latest, self._state()
        if self._latest in (None, self._loaded) or self._latest != before:
            return
        self._loaded = self._latest
        try:
            # In a context of its own first: a key that does not fit would leave the present one without any.
            tls_context(*self._files)
            self.context.load_cert_chain(*self._files)
        except OSError, ssl.SSLError:
            _LOGGER.error(  # noqa: TRY400  what the library says holds paths only
                "certfile and keyfile changed but are no certificate with its key (PEM): the old ones stay in use"
            )
        else:
            _LOGGER.info("the renewed certificate is in use")
