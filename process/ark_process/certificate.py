"""A server's certificate in files that somebody renews: every new connection gets the present one.

Certificates are short-lived (cert-manager renews them in the mounted Secret); a server that needs a restart to see that
is a server that fails once in ninety days.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

T = TypeVar("T")
_Stamp: TypeAlias = tuple[int, int, int] | None


class BadCertificate(Exception):
    """A certificate, key or CA file cannot be read or does not fit; the message names it."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a server's certificate lies (PEM)."""

    certificate: Path
    """The server's certificate, and those between it and its CA."""
    key: Path
    """Its private key, not encrypted."""
    client_ca: Path | None = None
    """CA of the clients' certificates; with it a client without a valid one is refused (mTLS)."""

    def context(self) -> ssl.SSLContext:
        """Load the files.

        Raises:
            BadCertificate: one cannot be used.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        for what, path in (("certificate", self.certificate), ("private key", self.key)):
            read_pem(what, path)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BadCertificate(
                f"certificate {self.certificate} and key {self.key} cannot be used: {reason}"
            ) from error
        if self.client_ca is not None:
            read_pem("client CA", self.client_ca)
            try:
                context.load_verify_locations(self.client_ca)
            except (ssl.SSLError, OSError) as error:
                raise BadCertificate(f"client CA {self.client_ca} cannot be used: {error}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def stamps(self) -> tuple[_Stamp, ...]:
        """Return what changes when a file is replaced, a mounted Secret's symbolic link too."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca))


class Reloading(Generic[T]):
    """What is made of certificate files, made anew when they change.

    Args:
        files: the files.
        load: makes it; raises BadCertificate.

    Raises:
        BadCertificate: the files cannot be used now. Later ones that cannot are logged, and what there is stays.
    """

    def __init__(self, files: CertificateFiles, load: Callable[[CertificateFiles], T]) -> None:
        self._files = files
        self._load = load
        self._stamps = files.stamps()
        self._refused: tuple[_Stamp, ...] = ()
        self._log = structlog.get_logger(component="certificate")
        self.present = load(files)

    def changed(self) -> T | None:
        """Return what is made of files that have changed since the last call; None where it is the present one.

        A renewal is seen half-written at times: then the present one stays, and the next call looks again.
        """
        stamps = self._files.stamps()
        if stamps == self._stamps:
            return None
        try:
            made = self._load(self._files)
        except BadCertificate as error:
            if stamps != self._refused:
                self._refused = stamps
                self._log.error("certificate files changed but cannot be used, the old ones stay", error=str(error))
            return None
        self._stamps, self.present = stamps, made
        self._log.info("certificate read again", certificate=str(self._files.certificate))
        return made


def reloading_context(files: CertificateFiles) -> ssl.SSLContext:
    """Return a context whose connections have the certificate that is in the files when they begin.

    Raises:
        BadCertificate: see `Reloading`.
    """
    reloading = Reloading(files, CertificateFiles.context)

    def switch(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        reloading.changed()
        connection.context = reloading.present

    first = reloading.present
    first.sni_callback = switch  # called for connections without a name, too
    return first


def _stamp(path: Path | None) -> _Stamp:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size) if status else None


def read_pem(what: str, path: Path) -> bytes:
    """Read a file, or say which one cannot be read; OpenSSL says only that one cannot.

    Raises:
        BadCertificate: it cannot.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{what} {path} cannot be read: {error.strerror}") from error
