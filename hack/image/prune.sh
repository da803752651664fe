#!/bin/sh
# Remove from a virtual environment what no program of ours uses: prune.sh FOLDER.
#
# The official Kubernetes client has a class for every kind of object and every group of calls, twice: 75 MB, 121 with
# their bytecode. We use its transport, credentials and TLS (ark_kube/client.py); the classes are loaded on demand, so
# nobody misses them.
set -eu
client=$(echo "$1"/lib/python3.*/site-packages/kubernetes)
[ -d "$client/aio/client/models" ] || { echo "prune: $client is not as expected" >&2; exit 1; }
for side in "$client/client" "$client/aio/client"; do
  for part in api models; do
    find "$side/$part" -type f ! -name __init__.py ! -name '__init__.*.pyc' -delete
  done
done
