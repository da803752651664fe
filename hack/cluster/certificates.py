"""Certificates and kubeconfigs of one cluster, made anew at each start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
import yaml

ADMINISTRATORS = "system:masters"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority, its certificate and what it issues in one folder.

    Args:
        folder: gets the files; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.certificate = folder / "ca.crt"
        self._ca.cert_pem.write_to_path(self.certificate)

    def issue(self, name: str, *hosts: str, group: str | None = None) -> KeyPair:
        """Issue a certificate for servers and clients.

        Args:
            name: the common name, which the API server takes for the user's; also names the files.
            hosts: names and addresses that a server has.
            group: the organization, which the API server takes for the user's group.
        """
        # Without a host trustme writes an empty, critical extension, which Go refuses.
        issued = self._ca.issue_cert(*(hosts or ("localhost",)), common_name=name, organization_name=group)
        base = self._folder / name.replace(":", "-")
        pair = KeyPair(base.with_name(f"{base.name}.crt"), base.with_name(f"{base.name}.key"))
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(pair.key)
        pair.key.chmod(0o600)
        return pair


def kubeconfig(
    server: str, authority: Path, *, pair: KeyPair | None = None, token: str | None = None, namespace: str = "default"
) -> str:
    """Return a kubeconfig's text, for a client certificate or a bearer token."""
    user = (
        {"client-certificate": str(pair.certificate), "client-key": str(pair.key)} if pair else {"token": token or ""}
    )
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "ark", "cluster": {"server": server, "certificate-authority": str(authority)}}],
            "users": [{"name": "ark", "user": user}],
            "contexts": [{"name": "ark", "context": {"cluster": "ark", "user": "ark", "namespace": namespace}}],
            "current-context": "ark",
        },
        sort_keys=False,
    )
