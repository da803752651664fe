"""TLS and mTLS, and certificates that are renewed while the scaler runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import trustme

from ark_scaler.server import CannotStart, running
from hack.local.redis_server import RedisServer
from tests.scaler.keda import CALL_SECONDS, Keda, settings


class Pki:
    """A CA, and the files of a server's certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.certificate, self.key, self.client_ca = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
        self.ca.cert_pem.write_to_path(self.client_ca)
        self.issue(self.ca)

    def issue(self, ca: trustme.CA) -> None:
        """Replace the server's files, as a renewal does."""
        issued = ca.issue_cert("localhost")
        for path, content in (
            (self.key, issued.private_key_pem.bytes()),
            (self.certificate, b"".join(pem.bytes() for pem in issued.cert_chain_pems)),
        ):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)

    def settings(self, redis: str, mutual: bool = True) -> dict[str, object]:
        files: dict[str, object] = {"redis": redis, "tls_cert": self.certificate, "tls_key": self.key}
        return {**files, "tls_client_ca": self.client_ca} if mutual else files


def channel(port: int, ca: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(),
        client.private_key_pem.bytes() if client else None,
        client.cert_chain_pems[0].bytes() if client else None,
    )
    options = [("grpc.use_local_subchannel_pool", 1)]  # a handshake of its own
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options)


async def spec_over(channel: grpc.aio.Channel) -> str:
    """Return the status of a call over the channel."""
    async with channel:
        try:
            await Keda(channel).stub.GetMetricSpec(Keda.reference(), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "OK"


async def test_with_mtls_only_a_client_with_a_certificate_of_the_ca_gets_in(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    stranger = trustme.CA()
    async with running(settings(**pki.settings(redis_server.url))) as scaler:
        port = scaler.grpc_port
        assert await spec_over(channel(port, pki.ca, pki.ca.issue_cert("keda-operator"))) == "OK"
        assert await spec_over(channel(port, pki.ca)) == "UNAVAILABLE"
        assert await spec_over(channel(port, pki.ca, stranger.issue_cert("keda-operator"))) == "UNAVAILABLE"
        assert await spec_over(channel(port, stranger, pki.ca.issue_cert("keda-operator"))) == "UNAVAILABLE"
        async with grpc.aio.insecure_channel(f"localhost:{port}") as plain:
            assert await spec_over(plain) == "UNAVAILABLE"


async def test_without_a_client_ca_any_client_that_trusts_the_server_gets_in(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    async with running(settings(**pki.settings(redis_server.url, mutual=False))) as scaler:
        assert await spec_over(channel(scaler.grpc_port, pki.ca)) == "OK"


async def test_a_renewed_certificate_and_a_new_client_ca_are_used_without_a_restart(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    new_ca = trustme.CA()
    async with running(settings(**pki.settings(redis_server.url))) as scaler:
        port = scaler.grpc_port
        assert await spec_over(channel(port, pki.ca, pki.ca.issue_cert("keda-operator"))) == "OK"
        new_ca.cert_pem.write_to_path(pki.client_ca)
        pki.issue(new_ca)
        assert await spec_over(channel(port, new_ca, new_ca.issue_cert("keda-operator"))) == "OK"
        assert await spec_over(channel(port, pki.ca, pki.ca.issue_cert("keda-operator"))) == "UNAVAILABLE"


async def test_a_half_written_renewal_leaves_the_old_certificate_in_use(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    async with running(settings(**pki.settings(redis_server.url))) as scaler:
        good = pki.certificate.read_bytes()
        pki.certificate.write_bytes(good[:100])
        client = pki.ca.issue_cert("keda-operator")
        assert await spec_over(channel(scaler.grpc_port, pki.ca, client)) == "OK"
        pki.issue(pki.ca)
        assert await spec_over(channel(scaler.grpc_port, pki.ca, client)) == "OK"


@pytest.mark.parametrize("fault", ["missing", "garbage", "foreign key", "unreadable ca"])
async def test_an_unusable_certificate_is_named_at_the_start(
    redis_server: RedisServer, tmp_path: Path, fault: str
) -> None:
    pki = Pki(tmp_path)
    named = pki.certificate
    match fault:
        case "missing":
            pki.certificate.unlink()
        case "garbage":
            pki.certificate.write_text("no certificate")
        case "foreign key":
            pki.key.write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes())
        case _:
            pki.client_ca.write_text("nothing")
            named = pki.client_ca
    with pytest.raises(CannotStart) as caught:
        async with running(settings(**pki.settings(redis_server.url))):
            pass
    assert str(named) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_program_says_it_in_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ark_scaler", "--tls-cert=/nowhere/tls.crt", "--tls-key=/nowhere/tls.key", "--port=0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "ARK_SCALER_HTTP_PORT": "0"},
    )
    assert ended.returncode == 2
    assert ended.stderr == "ark-scaler: certificate /nowhere/tls.crt cannot be read: No such file or directory\n"


@pytest.mark.parametrize(("name", "expected"), [("keda-operator", "OK"), ("tenant", "PERMISSION_DENIED")])
async def test_a_certificate_of_the_ca_is_not_enough_it_must_be_kedas(
    redis_server: RedisServer, tmp_path: Path, name: str, expected: str
) -> None:
    pki = Pki(tmp_path)
    async with running(settings(**pki.settings(redis_server.url))) as scaler:
        assert await spec_over(channel(scaler.grpc_port, pki.ca, pki.ca.issue_cert(name))) == expected
        async with channel(scaler.grpc_port, pki.ca, pki.ca.issue_cert(name)) as open_channel:
            stream = Keda(open_channel).stub.StreamIsActive(Keda.reference(), timeout=1)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stream.read()
        wanted = {"OK": "DEADLINE_EXCEEDED"}.get(expected, expected)
        assert ended.value.code().name == wanted


async def test_another_name_may_be_allowed_and_none_at_all_be_asked_for(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    for names, expected in (("other keda.example", "OK"), ("", "OK"), ("else", "PERMISSION_DENIED")):
        async with running(settings(**pki.settings(redis_server.url), tls_client_names=names)) as scaler:
            client = pki.ca.issue_cert("keda.example")
            assert await spec_over(channel(scaler.grpc_port, pki.ca, client)) == expected


async def test_a_name_that_is_no_hosts_is_none(redis_server: RedisServer, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    async with running(settings(**pki.settings(redis_server.url))) as scaler:
        for other in (pki.ca.issue_cert("keda-operator@example.com"), pki.ca.issue_cert("x", common_name="keda")):
            assert await spec_over(channel(scaler.grpc_port, pki.ca, other)) == "PERMISSION_DENIED"
        by_common_name = pki.ca.issue_cert("x", common_name="keda-operator")
        assert await spec_over(channel(scaler.grpc_port, pki.ca, by_common_name)) == "OK"
