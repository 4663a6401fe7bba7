#!/usr/bin/env bash
# Invokes the built functions with every event of events/ in SAM's Lambda container, and compares the answers with
# those of the same handlers in this machine's Python. It needs a running Docker engine; `make sam-local` installs the
# rest.
#   SAM              the SAM CLI                                       sam
#   PYTHON           a Python with the development environment         python3
#   SKIP_PULL_IMAGE  1: use the Lambda image of an earlier run         empty
set -euo pipefail
cd "$(dirname "$0")/.."
SAM=${SAM:-sam}
PYTHON=${PYTHON:-python3}

docker info >/dev/null 2>&1 || {
  echo "sam-local needs a running Docker engine, and \`docker info\` finds none: start it, or set DOCKER_HOST." >&2
  exit 1
}

# The container runs on this machine's processor, whatever architecture the stack is deployed for.
case $(uname -m) in
  aarch64 | arm64) architecture=arm64 ;;
  *) architecture=x86_64 ;;
esac
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
state=.local/sam-local
mkdir -p "$state"
echo "Building the functions ..."
PYTHON=$PYTHON "$SAM" build --build-dir "$state/build" --parameter-overrides "Architecture=$architecture" \
  >"$state/build.log" 2>&1 || { tail -n 20 "$state/build.log" >&2; exit 1; }

exec "$PYTHON" -m local.sam_local --sam "$SAM" --template "$state/build/template.yaml" \
  --architecture "$architecture" ${SKIP_PULL_IMAGE:+--skip-pull-image}
