"""Whether KEDA and the scaler accept each other's certificates and for how long, and whether the scaler answers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ark_cli.agents import span
from ark_cli.checks.finding import Finding, Verdict, fault, ok, unknown, warning
from ark_cli.checks.installation import Installation, place, variables
from ark_cli.checks.reach import Credentials, reached
from ark_cli.errors import CliError, NotThere
from ark_cli.kubectl import Kubectl, Object
from ark_cli.redis_access import RedisAccess

_SOON_SECONDS = 14 * 86_400
_AUTHENTICATIONS = "/apis/keda.sh/v1alpha1/{}triggerauthentications?labelSelector=app.kubernetes.io/part-of%3Dark"
_WATCHED = "ARK_OPERATOR_WATCH_NAMESPACE"
_RENEW = "delete both Secrets and run helm upgrade (tls.source=chart), or see to your issuer"


async def certificates(kubectl: Kubectl, _: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """See whether each side's certificate is valid, of the other's CA, and the scaler's of the name that KEDA calls."""
    if installation.hidden:
        yield unknown(installation.hidden)
        return
    clients = await _authentications(kubectl, installation)
    for deployment in installation.component("scaler"):
        name = _server_secret(deployment)
        if name is None:
            yield warning(
                f"{place(deployment)} speaks without TLS: whoever reaches it may read every queue's depth",
                "set tls.enabled=true",
            )
            yield await reached(kubectl, deployment, None)
            continue
        client = next((one for one in clients if _instance(one) == _instance(deployment)), None)
        if client is None:
            yield fault(
                f"no trigger authentication found for {place(deployment)}: KEDA has no client certificate",
                "helm upgrade",
            )
            continue
        async for finding in _pair(kubectl, installation, deployment, name, client):
            yield finding


async def _authentications(kubectl: Kubectl, installation: Installation) -> list[Object]:
    """Return those of the cluster, and of the namespaces that operators for one namespace look at."""
    watched = (variables(one, "operator").get(_WATCHED) for one in installation.component("operator"))
    places = ["cluster", *(f"namespaces/{namespace}/" for namespace in watched if namespace)]
    return [item for place in places for item in (await kubectl.get(_AUTHENTICATIONS.format(place)))["items"]]


async def _pair(
    kubectl: Kubectl, installation: Installation, deployment: Object, server_secret: str, client: Object
) -> AsyncIterator[Finding]:
    references = {one["parameter"]: one for one in client["spec"].get("secretTargetRef") or []}
    keda = client["metadata"].get("namespace", installation.keda_namespace)
    own = deployment["metadata"]["namespace"]
    names = {(own, server_secret), *((keda, one["name"]) for one in references.values())}
    data: dict[tuple[str, str], dict[str, str]] = {}
    for namespace, name in sorted(names):
        try:
            secret = await kubectl.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
            data[namespace, name] = secret.get("data") or {}
        except NotThere:
            yield fault(
                f"Secret {namespace}/{name} with a certificate is not there", "helm upgrade, or wait for cert-manager"
            )
            return
        except CliError as error:
            yield unknown(f"certificates: {error}")
            return
    try:
        server = Side.of("the scaler", data[own, server_secret], "tls.crt", "ca.crt")
        parts = {parameter: data[keda, one["name"]][one["key"]] for parameter, one in references.items()}
        client_side = Side.of("KEDA", parts, "tlsClientCert", "caCert")
    except (KeyError, ValueError, IndexError) as error:
        yield fault(f"a certificate of {place(deployment)} cannot be read: {error!r}", _RENEW)
        return
    findings = judged(server, client_side, _host(installation), installation.now)
    for finding in findings:
        yield finding
    if not any(one.verdict is Verdict.FAULT for one in findings):
        pem = {
            parameter: base64.b64decode(parts[parameter]) for parameter in ("tlsClientCert", "tlsClientKey", "caCert")
        }
        host = _host(installation) or next(iter(sorted(_names(server.shows))), "")
        credentials = Credentials(pem["tlsClientCert"], pem["tlsClientKey"], pem["caCert"], host)
        yield await reached(kubectl, deployment, credentials)


@dataclass(frozen=True, slots=True)
class Side:
    """One end of the connections from KEDA to the scaler."""

    name: str
    shows: x509.Certificate
    trusts: Sequence[x509.Certificate]

    @classmethod
    def of(cls, name: str, data: Mapping[str, str], shows: str, trusts: str) -> Side:
        """Read one from a Secret's data.

        Args:
            name: for people.
            data: base64 of PEM.
            shows: key of its certificate.
            trusts: key of the CA of the other's.

        Raises:
            KeyError, ValueError, IndexError: they are not there, or cannot be read.
        """
        return cls(name, _loaded(data[shows])[0], _loaded(data[trusts]))


def judged(scaler: Side, keda: Side, host: str | None, now: datetime) -> list[Finding]:
    """Judge both sides.

    Args:
        scaler: the server.
        keda: the client.
        host: by which KEDA calls the scaler; None where that is not known.
        now: UTC.
    """
    return [*_judged(scaler, keda, now), *_judged(keda, scaler, now), *_named(scaler.shows, host)]


def _judged(side: Side, by: Side, now: datetime) -> Iterator[Finding]:
    whose, certificate = f"{side.name}'s certificate", side.shows
    if not any(_issued(certificate, authority) for authority in by.trusts):
        yield fault(f"{whose} is not signed by a CA that {by.name} trusts: every call fails", _RENEW)
        return
    left = (certificate.not_valid_after_utc - now).total_seconds()
    if left <= 0:
        yield fault(f"{whose} expired {span(-left)} ago: every call fails", _RENEW)
    elif left < _SOON_SECONDS:
        yield warning(f"{whose} expires in {span(left)}", _RENEW)
    elif certificate.not_valid_before_utc > now:
        yield fault(f"{whose} is not valid before {certificate.not_valid_before_utc}", "look at the clocks")
    else:
        yield ok(f"{whose} is valid for {span(left)}, and {by.name} trusts its CA")


def _named(certificate: x509.Certificate, host: str | None) -> Iterator[Finding]:
    """See whether the certificate is of the name that the operator gives KEDA."""
    if host is None:
        return
    known = _names(certificate)
    if not known:
        yield fault("the scaler's certificate names no host", _RENEW)
    elif host not in known:
        yield fault(
            f"KEDA calls the scaler {host}, but its certificate is only valid for {', '.join(sorted(known))}",
            "add the name to tls.extraNames, or correct the operator's --scaler-address",
        )


def _names(certificate: x509.Certificate) -> set[str]:
    """Return the hosts and addresses that a certificate is of."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _loaded(data: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(base64.b64decode(data))


def _server_secret(deployment: Object) -> str | None:
    volumes = deployment["spec"]["template"]["spec"].get("volumes") or []
    return next((str(one["secret"]["secretName"]) for one in volumes if one["name"] == "tls"), None)


def _instance(item: Object) -> tuple[str, str]:
    """Return name and namespace of the release that an object is of; it need not lie in its release's namespace."""
    metadata = item["metadata"]
    release = metadata["labels"].get("app.kubernetes.io/instance", "")
    release_namespace = (metadata.get("annotations") or {}).get("meta.helm.sh/release-namespace")
    return release, release_namespace or metadata.get("namespace", "")


def _host(installation: Installation) -> str | None:
    """Return the host by which the operator tells KEDA to call the scaler."""
    host = installation.settings.get("ARK_OPERATOR_SCALER_ADDRESS", "").rpartition(":")[0].strip("[]")
    try:
        return str(ip_address(host))
    except ValueError:
        return host or None
