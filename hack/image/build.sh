#!/bin/sh
# Build the image with what is there, docker, podman or buildah: build.sh IMAGE [BASE].
set -eu
cd "$(dirname "$0")/../.."
image=$1
base=${2:-}
for tool in docker podman buildah; do
  # docker without its daemon cannot build.
  if "$tool" info >/dev/null 2>&1; then
    set -- build --tag "$image"
    [ -z "$base" ] || set -- "$@" --build-arg "BASE=$base"
    echo "image: building $image with $tool" >&2
    exec "$tool" "$@" .
  fi
done
echo "image: needs docker (running), podman or buildah" >&2
exit 1
