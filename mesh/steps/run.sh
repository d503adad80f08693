#!/bin/sh
# Runs a step: `sh mesh/steps/run.sh <step>`, the spec on stdin. What stands in the Pulumi state is this line, so it is
# the same on each machine; which Python it takes is decided here: $MESH_PYTHON, the active virtual environment, the
# project's own, any python3.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
if [ -n "${MESH_PYTHON:-}" ]; then
  python=$MESH_PYTHON
elif [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then
  python=$VIRTUAL_ENV/bin/python
elif [ -x "$root/.venv/bin/python" ]; then
  python=$root/.venv/bin/python
elif command -v python3 >/dev/null; then
  python=python3
else
  echo "The step $* needs Python 3.11 or newer: install it, or set MESH_PYTHON to its path." >&2
  exit 1
fi
# exec: a signal to this process reaches the step itself.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m mesh.steps "$@"
