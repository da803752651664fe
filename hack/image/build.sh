#!/bin/sh
# Build the image with what is there, docker, podman or buildah: build.sh IMAGE [BASE].
#
# IMAGE_TOOL names one of them, with options of its own; IMAGE_ARGS are further arguments for its build, as what this
# machine reaches its package registries with: IMAGE_ARGS="--network host -v /etc/ssl/certs:/etc/ssl/certs:ro".
set -eu
cd "$(dirname "$0")/../.."
image=$1
base=${2:-}
tool=${IMAGE_TOOL:-}
if [ -z "$tool" ]; then
  for found in docker podman buildah; do
    # docker without its daemon cannot build.
    if "$found" info >/dev/null 2>&1; then
      tool=$found
      break
    fi
  done
fi
[ -n "$tool" ] || { echo "image: needs docker (running), podman or buildah" >&2; exit 1; }
set -- build --tag "$image"
[ -z "$base" ] || set -- "$@" --build-arg "BASE=$base"
echo "image: building $image with ${tool%% *}" >&2
# Both are lists of words.
# shellcheck disable=SC2086
exec $tool "$@" ${IMAGE_ARGS:-} .
