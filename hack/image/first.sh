#!/bin/sh
# Have the programs of a virtual environment run below dumb-init: first.sh FOLDER.
#
# The first process of a container is sent no signal that it has no handler for. Python takes its time until our first
# line can set one, on a busy node for seconds: SIGTERM is lost then, and an agent goes on taking tasks until it is killed.
# dumb-init listens after a millisecond. Programs are started by their names, in Deployments that others write too, so it
# stands in their first line and not in an ENTRYPOINT, which a Deployment's command overrides.
set -eu
for program in ark-scaler ark-operator ark-agent; do
  path=$1/bin/$program
  interpreter=$(sed -n '1s/^#!//p' "$path")
  case $interpreter in
    "$1"/bin/python*) sed -i "1s|.*|#!$1/bin/dumb-init $interpreter|" "$path" ;;
    *) echo "first: $path does not begin with its Python: $interpreter" >&2; exit 1 ;;
  esac
done
