"""How the API server's certificate is checked; who may see the metrics is tested on a real one (tests/cluster)."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Any

import pytest

from ark_kube.client import transport
from ark_process import metrics_access
from ark_process.metrics_access import MetricsAccess
from hack.cluster.certificates import Authority, kubeconfig


@pytest.fixture
def as_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make default contexts as strict as they are from Python 3.13 on, whatever this one is."""
    original = ssl.create_default_context

    def strict(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = original(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


@pytest.mark.usefixtures("as_python_3_13")
def test_a_ca_without_a_key_identifier_is_as_good_as_for_kubectl() -> None:
    context = metrics_access._context(None)
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.usefixtures("as_python_3_13")
async def test_the_operators_client_is_no_stricter_either(tmp_path: Any) -> None:
    authority = Authority(tmp_path / "ca")
    file = tmp_path / "config"
    file.write_text(kubeconfig("https://127.0.0.1:1", authority.certificate, token="t"))
    async with transport(file) as client:
        context = client.rest_client.ssl_context
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("header", [None, "", "Basic x", "Bearer ", "Bearer   "])
async def test_who_shows_no_token_is_refused_without_a_question(header: str | None) -> None:
    refusal = await MetricsAccess("https://127.0.0.1:1", None).refusal(header, "192.0.2.1")
    assert refusal is not None
    assert refusal.status == HTTPStatus.UNAUTHORIZED
