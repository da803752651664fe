"""Command lines and mount paths on a machine without the container's image."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.cluster.node.command import command_line, relocated
from tests.hack.cluster.pods import container

MOUNTS = {"/certs": Path("/pods/1/certs"), "/certs/client": Path("/pods/1/client"), "/data/": Path("/pods/1/data")}


def test_arguments_follow_the_command_with_variables_and_mounts_in_place() -> None:
    spec = container(command=["ark-scaler"], args=["--host=$(POD_IP)", "--tls-cert=/certs/tls.crt"])
    found = command_line(spec, "127.64.0.1", {"POD_IP": "127.64.0.1"}, MOUNTS)
    assert found == ["ark-scaler", "--host=127.64.0.1", "--tls-cert=/pods/1/certs/tls.crt"]


def test_an_init_is_left_out() -> None:
    spec = container(command=["dumb-init", "python", "/app/review.py"])
    assert command_line(spec, "127.64.0.1", {}, {}) == ["python", "/app/review.py"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--port", "6379"], ["--port", "6379", "--bind", "127.64.0.1"]),
        (["--bind", "127.0.0.1"], ["--bind", "127.0.0.1"]),
    ],
)
def test_a_redis_listens_on_its_pods_address_unless_it_says_otherwise(arguments: list[str], found: list[str]) -> None:
    spec = container(command=["valkey-server"], args=arguments)
    assert command_line(spec, "127.64.0.1", {}, {}) == ["valkey-server", *found]


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("/certs", "/pods/1/certs"),
        ("/certs/tls.crt", "/pods/1/certs/tls.crt"),
        ("/certs/client/tls.crt", "/pods/1/client/tls.crt"),
        ("a=/certs/x,b=/data/y", "a=/pods/1/certs/x,b=/pods/1/data/y"),
        ("/usr/bin:/data", "/usr/bin:/pods/1/data"),
        ("/certsx/tls.crt", "/certsx/tls.crt"),
        ("/etc/certs/tls.crt", "/etc/certs/tls.crt"),
        ("https://host/certs/x", "https://host/certs/x"),
    ],
)
def test_a_mount_path_is_found_where_a_path_begins(text: str, moved: str) -> None:
    assert relocated(text, MOUNTS) == moved


def test_a_folder_that_lies_below_a_mounted_path_is_put_in_once() -> None:
    mounts = {"/tmp": Path("/tmp/pods/1/tmp"), "/etc/tls": Path("/tmp/pods/1/tls")}
    assert (
        relocated("--cert=/etc/tls/a --folder=/tmp/b", mounts) == "--cert=/tmp/pods/1/tls/a --folder=/tmp/pods/1/tmp/b"
    )
