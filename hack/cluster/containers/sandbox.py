"""Namespaces of its own for a program and all that it starts: network, mounts and processes. They end with it.

``python -m hack.cluster.containers.sandbox NAME COMMAND...`` is their first process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hack.cluster import addresses
from hack.cluster.programs import cache_folder
from hack.local.process import die_with_parent

NODE_ADDRESS = "10.98.0.1"
_GATEWAY = "10.98.0.2"
DOMAIN = "cluster.local"
_CGROUP = "ark-node"
"""Begins the name of each sandbox's cgroup."""
_NAME = "ARK_NODE_SANDBOX"
"""Has the sandbox's name, inside."""
_ROOT = Path(__file__).resolve().parents[3]
_PRIVATE = ("/run", "/var/log")
_KERNEL = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What a kubelet sets for the whole machine; here it sets copies."""
_CLEAN_SECONDS = 20.0
_MODULES = ("br_netfilter", "overlay")
_TRIAL = """
mount -t tmpfs tmpfs /run
mkdir "$1/lower" "$1/upper" "$1/work" "$1/merged"
mount -t overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" overlay "$1/merged"
umount "$1/merged"
ip link add node type veth peer name gateway
[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || { echo "the kernel has no br_netfilter" >&2; exit 1; }
"""
"""What a node needs of the kernel, in namespaces; gets a folder for temporary files, where containers will lie."""
_TRIAL_SECONDS = 30.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks for the end."""


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program in a sandbox and return its exit code; whatever it leaves running is killed.

    Args:
        command: the program and its arguments.
        environment: its variables.
    """
    with addresses.claimed(cache_folder() / "sandboxes") as block:
        name = f"{_CGROUP}-{block.number}"
        _remove_cgroups(name)  # of an earlier one that was killed: a kubelet would stumble over them
        inside = [sys.executable, "-m", __name__, name, *command]
        line = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", *inside]
        try:
            with subprocess.Popen(
                line,
                cwd=_ROOT,
                env={**environment, _NAME: name},
                start_new_session=True,  # Ctrl-C reaches this process alone
                preexec_fn=_held,  # noqa: PLW1509 - two calls
            ) as held:
                return _waited(held)
        finally:
            _remove_cgroups(name)


def _held() -> None:
    """Let the first process end with this one, and have signals wait until it has its handlers: it would lose them."""
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def refusal() -> str | None:
    """Return why this machine lets nobody make a sandbox; None where it does."""
    if shutil.which("modprobe") is not None:
        for module in _MODULES:  # where they are built in, or may not be loaded, the trial below tells
            subprocess.run(["modprobe", module], capture_output=True, timeout=_TRIAL_SECONDS, check=False)  # noqa: S607
    with tempfile.TemporaryDirectory(prefix="ark-trial-") as folder:
        line = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-euc", _TRIAL, "sh", folder]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)
    if ended.returncode != 0:
        return f"namespaces and mounts cannot be made here: {ended.stderr.strip()}"
    trial = f"{_CGROUP}-trial-{os.getpid()}"
    try:
        make_cgroups(trial)
        for hierarchy in hierarchies():
            (hierarchy / trial).rmdir()
    except OSError as error:
        return f"cgroups cannot be made here: {error}"
    return None


def inside() -> bool:
    """Return whether this process is in a sandbox."""
    return _NAME in os.environ


def cgroup() -> str:
    """Return the name of this sandbox's cgroup in each hierarchy."""
    return os.environ[_NAME]


def _waited(held: subprocess.Popen[bytes]) -> int:
    """Wait for the end; hand on what asks for it, to the first process of the namespace: unshare itself does not."""

    def hand_on(number: int, _frame: object) -> None:
        children = _children(held.pid)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        if not children:
            held.kill()

    before = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    try:
        return held.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held.poll() is None:
            held.kill()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def hierarchies() -> list[Path]:
    """Return the folders of all hierarchies of cgroups."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]


def make_cgroups(name: str) -> None:
    """Make a cgroup in each hierarchy, as a kubelet expects its root."""
    for hierarchy in hierarchies():
        controllers = hierarchy / "cgroup.controllers"
        if controllers.exists():
            available = controllers.read_text().split()
            (hierarchy / "cgroup.subtree_control").write_text(" ".join(f"+{entry}" for entry in available))
        (hierarchy / name).mkdir(exist_ok=True)


def _remove_cgroups(name: str) -> None:
    """Remove a sandbox's cgroups: folders that can be removed from the innermost on, once their processes are gone."""
    deadline = time.monotonic() + _CLEAN_SECONDS
    for hierarchy in hierarchies():
        root = hierarchy / name
        while root.exists():
            for folder, _, _ in os.walk(root, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError as error:
                    last = error
            if root.exists():
                if time.monotonic() > deadline:
                    raise last
                time.sleep(0.05)


def _enter(name: str) -> None:
    """Make the namespaces what a node needs."""
    _call("mount", "--make-rshared", "/")
    resolver = Path("/etc/resolv.conf").resolve()
    for folder in _PRIVATE:
        _call("mount", "-t", "tmpfs", "tmpfs", folder)
    own = Path(tempfile.mkdtemp(dir="/run", prefix="ark-"))
    for setting in (Path("/proc/sys", path) for path in _KERNEL):
        if setting.exists():
            copy = own / setting.name
            shutil.copyfile(setting, copy)
            _call("mount", "--bind", str(copy), str(setting))
    # Programs beside the Pods find Services by their names, too.
    text = f"nameserver {NODE_ADDRESS}\nsearch svc.{DOMAIN} {DOMAIN}\noptions ndots:5 timeout:1\n"
    (own / "resolv.conf").write_text(text)
    resolver.parent.mkdir(parents=True, exist_ok=True)
    resolver.touch()
    _call("mount", "--bind", str(own / "resolv.conf"), str(resolver))
    _call("ip", "link", "set", "lo", "up")
    _call("ip", "link", "add", "node", "type", "veth", "peer", "name", "gateway")
    _call("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "node")
    for end in ("node", "gateway"):
        _call("ip", "link", "set", end, "up")
    _call("ip", "route", "add", "default", "via", _GATEWAY, "dev", "node")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    make_cgroups(name)


def _call(*command: str) -> None:
    subprocess.run(command, check=True)


def _main(name: str, *command: str) -> int:
    program: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, _frame: object) -> None:
        if program is None:
            os._exit(128 + number)  # as the first process it would not end by a signal
        with suppress(ProcessLookupError):
            os.kill(program.pid, number)  # its own method may take its exit code away

    for number in _SIGNALS:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _enter(name)
    program = subprocess.Popen(command, env=os.environ)
    # The first process of a namespace inherits whatever others leave behind.
    while True:
        pid, status = os.wait()
        if pid == program.pid:
            program.returncode = os.waitstatus_to_exitcode(status)
            return program.returncode if program.returncode >= 0 else 128 - program.returncode


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
