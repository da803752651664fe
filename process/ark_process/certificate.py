"""A server's certificate in files that somebody renews: every new connection gets the present one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog


class BadCertificate(Exception):
    """Certificate or key cannot be used; the message names the files."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a context whose connections have the certificate that is in the files when they begin.

        Raises:
            BadCertificate: the files cannot be read now. Later ones that cannot are logged, the last one stays.
        """
        log = structlog.get_logger(component="certificate")
        first = loaded = self._load()
        changed_at = self._changed_at()

        def switch(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            nonlocal loaded, changed_at
            now = self._changed_at()
            if now != changed_at:
                changed_at = now
                try:
                    loaded = self._load()
                except BadCertificate as error:
                    log.error("new certificate cannot be used, keeping the last one", error=str(error))
            connection.context = loaded

        first.sni_callback = switch  # called for connections without a name, too
        return first

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise BadCertificate(f"certificate {self.certificate} with key {self.key}: {error}") from error
        return context

    def _changed_at(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in (self.certificate, self.key))
        except OSError:
            return ()
