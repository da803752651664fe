"""Known secrets are taken out of texts, in whatever form they are written there."""

from __future__ import annotations

import json

import pytest

from ark_process.secrets import HIDDEN, Scrubber, of_environment, of_urls


@pytest.mark.parametrize("secret", ["S3cret-value", "with/slash#and?more", 'quote"and\\back', "ümlaut-secret"])
def test_every_form_of_a_secret_is_hidden(secret: str) -> None:
    from urllib.parse import quote

    scrub = Scrubber([secret])
    for text in (secret, json.dumps({"key": secret}), quote(secret, safe=""), repr([secret])):
        assert scrub(f"before {text} behind").startswith("before ")
        assert HIDDEN in scrub(text)
        assert secret not in scrub(text)


def test_a_short_value_is_no_secret_to_look_for() -> None:
    assert Scrubber(["key"])("the key of the matter") == "the key of the matter"


def test_a_secret_that_begins_another_does_not_leave_its_end() -> None:
    assert Scrubber(["abcdef", "abcdef-ghijkl"])("abcdef-ghijkl") == HIDDEN


def test_variables_are_secrets_by_their_names_and_urls_by_their_passwords() -> None:
    found = of_environment(
        {
            "ANTHROPIC_API_KEY": "sk-ant-1",
            "DB_PASSWORD": "hunter22",
            "SENTRY_AUTH_TOKEN": "token-1",
            "AGENT_REDIS": "redis://user:geheim@host:6379",
            "KEYBOARD": "qwertz",
            "PGPASSWORD": "pg-word",
            "GITHUB_PAT": "pat-word",
            "HTTPS_PROXY": "http://user:proxy-word@proxy:3128",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20otel-word,x-team=team-word",
            "ANTHROPIC_CUSTOM_HEADERS": "X-Gateway: gateway-word\nX-Other: Basic other-word",
            "PATH": "/usr/bin",
        }
    )
    assert {"sk-ant-1", "hunter22", "token-1", "geheim", "pg-word", "pat-word", "proxy-word"} <= found
    assert {"otel-word", "team-word", "gateway-word", "other-word"} <= found
    assert not {"qwertz", "/usr/bin"} & found


@pytest.mark.parametrize(
    "url",
    [
        "redis://:geheim@h",
        "redis://:geheim/rest@h",
        "redis://u:geheim#rest@h",
        "https://h/path?api-key=geheim",
        "https://h/path?subscriptionKey=geheim",
        "https://h/path?code=geheim",
        "big=redis://u:geheim@h",
        "redis://:%67eheim@h",
    ],
)
def test_what_is_secret_in_a_url_is_found_in_any_url(url: str) -> None:
    assert any("geheim" in secret for secret in of_urls(url))
