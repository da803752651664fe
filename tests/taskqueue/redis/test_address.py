"""Redis URLs."""

from __future__ import annotations

import pytest

from ark_taskqueue import InvalidAddress, parse_address, parse_connections


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "service", "shown"),
    [
        ("redis://h", "standalone", (("h", 6379),), None, "redis://h:6379"),
        ("redis://u:p%40@h:1/2", "standalone", (("h", 1),), None, "redis://h:1"),
        ("rediss://h:1?ssl_check_hostname=false", "standalone", (("h", 1),), None, "rediss://h:1"),
        ("redis://[::1]:7", "standalone", (("::1", 7),), None, "redis://[::1]:7"),
        ("unix:///run/redis.sock", "standalone", (), None, "unix:///run/redis.sock"),
        (
            "redis+sentinel://a,b:2/main",
            "sentinel",
            (("a", 26379), ("b", 2)),
            "main",
            "redis+sentinel://a:26379,b:2/main",
        ),
        ("rediss+sentinel://u:p@a/main/3", "sentinel", (("a", 26379),), "main", "rediss+sentinel://a:26379/main"),
        ("redis+cluster://a,b:7001", "cluster", (("a", 6379), ("b", 7001)), None, "redis+cluster://a:6379,b:7001"),
    ],
)
def test_every_kind_of_url_is_understood(
    url: str, kind: str, hosts: tuple[tuple[str, int], ...], service: str | None, shown: str
) -> None:
    address = parse_address(url)
    assert (address.kind, address.hosts, address.service, str(address)) == (kind, hosts, service, shown)


def test_user_password_and_database_are_decoded() -> None:
    login = parse_address("rediss+sentinel://us%3Aer:se%2Fcret@a/main/3").login
    assert (login["username"], login["password"], login["db"]) == ("us:er", "se/cret", 3)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h", "scheme 'http'; allowed: redis"),
        ("h:6379", "allowed: redis"),
        ("redis://", "no host"),
        ("redis://a,b", "several hosts"),
        (
            "redis://h:port",
            "no host and port that can be read: special characters in user and password must be percent-",
        ),
        ("redis://h/x", "an invalid path: a standalone URL takes a database number"),
        ("redis+cluster://h/1", "an invalid path: a cluster URL takes no database"),
        ("redis+sentinel://h", "no service"),
        ("redis://h?timeout=3", "unknown option 'timeout'"),
        ("redis://h?ssl_keyfile=k", "unknown option 'ssl_keyfile'"),
        ("unix://", "no path"),
        ("redis://[::1", "cannot be read"),
        ("rediss://h?ssl_cert_reqs=foo", "ssl_cert_reqs='foo'; allowed: required, optional, none"),
        ("rediss://h?ssl_ca_certs=/nowhere.pem", "ssl_ca_certs='/nowhere.pem', which cannot be read: No such file"),
    ],
)
def test_a_malformed_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(InvalidAddress, match="Redis URL") as caught:
        parse_address(url)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:geheim@h/x",
        "ftp://u:geheim@h",
        "redis://u:geheim@h:port",
        "redis://u:geheim@",
        # What a character that is not percent-encoded makes of the password.
        "redis://:geheim/rest@h:6379/0",
        "redis://:first/geheim@h:6379/0",
        "redis://:geheim#rest@h",
        "redis://:first#geheim@h",
        "redis://:geheim?rest@h",
        "redis://:first?geheim=1@h",
        "redis://:[geheim@h",
        "redis://u:first:geheim/x@h",
        "redis+sentinel://:geheim/rest@a,b/main",
        "redis+cluster://:geheim/rest@a,b",
        "unix://:geheim/rest@/run/redis.sock",
        "redis://h:geheim",
        "geheim:x@h",
    ],
)
def test_no_error_and_no_shown_address_contains_the_password(url: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(url)
    assert "geheim" not in str(caught.value)
    with pytest.raises(ValueError, match="connection 'default'") as caught_there:
        parse_connections(url)
    assert "geheim" not in str(caught_there.value)


def test_an_address_shows_no_password() -> None:
    address = parse_address("redis+sentinel://u:geheim@h/main?sentinel_password=geheim")
    assert "geheim" not in f"{address} {address!r}"


def test_the_rest_of_a_password_with_a_space_is_no_name_to_repeat() -> None:
    with pytest.raises(ValueError, match="connection's name") as caught:
        parse_connections("redis://h/0 Geheim=x@h")
    assert "Geheim" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://:p/w@h", "redis://:p#w@h", "redis://:p?w@h", "unix://:p/w@/s"])
def test_an_error_says_that_a_password_must_be_encoded(url: str) -> None:
    with pytest.raises(InvalidAddress, match="must be percent-encoded"):
        parse_address(url)
