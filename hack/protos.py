"""Generate the Python code of protos/externalscaler.proto: ``make protos``, or ``python -m hack.protos FOLDER``."""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

from grpc_tools import protoc

_ROOT = Path(__file__).resolve().parent.parent
GENERATED = _ROOT / "scaler" / "ark_scaler" / "wire"
"""Where the committed code lies."""


def generate(folder: Path) -> list[Path]:
    """Write the generated modules into a folder and return their paths.

    Raises:
        RuntimeError: protoc failed; it has said why on standard error.
    """
    include = importlib.resources.files("grpc_tools") / "_proto"
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    code = protoc.main(
        ["protoc", f"-I{_ROOT / 'protos'}", f"-I{include}", *outputs, str(_ROOT / "protos" / "externalscaler.proto")]
    )
    if code != 0:
        raise RuntimeError(f"protoc ended with exit code {code}")
    grpc_module = folder / "externalscaler_pb2_grpc.py"
    # protoc takes the modules for top-level ones; they are part of a package here.
    text = grpc_module.read_text()
    grpc_module.write_text(
        text.replace(
            "import externalscaler_pb2 as externalscaler__pb2",
            "from ark_scaler.wire import externalscaler_pb2 as externalscaler__pb2",
        )
    )
    return [folder / "externalscaler_pb2.py", folder / "externalscaler_pb2.pyi", grpc_module]


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else GENERATED)
