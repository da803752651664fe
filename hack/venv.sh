#!/usr/bin/env bash
# Make the virtual environment .venv from requirements.lock: every package pinned and checked by its hash.
# Does nothing when .venv is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-}
if [ -z "$python" ]; then
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      python=$name
      break
    fi
  done
fi
if [ -z "$python" ]; then
  echo "venv: no Python 3.11 or newer on the PATH; install one, or name it: make PYTHON=/path/to/python3 ..." >&2
  exit 1
fi

# Two stamps: a change of the lock or of Python makes .venv anew, a change of pyproject.toml only links the project again.
lock_stamp=.venv/.lock-installed
project_stamp=.venv/.project-installed
lock_is=$({ "$python" -c 'import sys; print(sys.version)'; cat requirements.lock; } | cksum)
project_is=$(cksum <pyproject.toml)
holds() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }

if ! holds "$lock_stamp" "$lock_is"; then
  echo "venv: installing the pinned packages into .venv (once; about a minute)" >&2
  if ! "$python" -m venv --clear .venv; then
    echo "venv: $python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  fi
  pip install --require-hashes --no-deps -r requirements.lock
  echo "$lock_is" >"$lock_stamp"
fi
if ! holds "$project_stamp" "$project_is"; then
  pip install --no-deps --no-build-isolation --editable .
  echo "$project_is" >"$project_stamp"
fi
