#!/bin/sh
# Makes the demo policy in the folder of policies $1, unless it is there. DEMO=--short makes a hasty one.
set -eu
if [ -e "$1/reacher2d/config.json" ]; then
  echo "trainer: $1/reacher2d is there, nothing to do"
  exit 0
fi
# shellcheck disable=SC2086  # DEMO is none or more options
PYTHONPATH=$(dirname "$0") exec python -m examples.demo --out /work/demo --only-policy "$1" ${DEMO:-}
