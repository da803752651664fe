"""Write the reference pages: ``python -m hack.reference``."""

from __future__ import annotations

import sys

from hack.reference.pages import ROOT, pages


def main() -> int:
    """Write every page that is not as it should be; return the exit code."""
    for name, text in pages().items():
        path = ROOT / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"reference: wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
