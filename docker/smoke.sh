#!/usr/bin/env bash
# Checks a running `docker compose up`: an episode goes on after everything was restarted.
#
#   docker/smoke.sh [restart|recreate]
#
# `restart` (the default) restarts every container, `recreate` takes them down and up again; the volumes stay.
# COMPOSE names the command (default "docker compose"), URL the service (default http://127.0.0.1:8000).
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra compose <<<"${COMPOSE:-docker compose}"
url=${URL:-http://127.0.0.1:8000}
how=${1:-restart}
episode=$url/episodes/smoke-$(date +%s)-$$
observation='[0.54, 0.88, 0.84, -0.47, 0.01, -0.02, 0.12, 0.93, 0.6, 0.5, -0.48, 0.43]'  # of Reacher2d

fail() { echo "smoke: $*" >&2; exit 1; }

call() {  # METHOD URL [BODY]: the answer's body; while nobody answers, or 503, the same request again
  local answer=
  for _ in $(seq 120); do
    if answer=$(curl --silent --show-error --max-time 30 -X "$1" ${3:+--json "$3"} -w '\n%{http_code}' "$2" 2>&1); then
      [[ ${answer##*$'\n'} == 2?? ]] && echo "${answer%$'\n'*}" && return
      [[ ${answer##*$'\n'} == 503 ]] || fail "$1 $2: $answer"
    fi
    sleep 1
  done
  fail "$1 $2, after two minutes: $answer"
}

act() {  # STEP: the answer of one step
  local reward=', "reward": 0'
  (($1 > 0)) || reward=
  call POST "$episode/act" "{\"step\": $1, \"observation\": $observation$reward}"
}

value() { grep -o "\"$1\": *\(\[[^]]*\]\|[^,}]*\)" | head -n 1 | sed 's/^[^:]*: *//'; }  # NAME, of JSON on stdin

call PUT "$episode" '{"policy": "reacher2d", "target_return": 76}' >/dev/null
for step in 0 1 2; do before=$(act "$step"); done
echo "before: step $(value committed_step <<<"$before"), action $(value action <<<"$before")"

case $how in
  restart) "${compose[@]}" restart ;;
  recreate) "${compose[@]}" down; "${compose[@]}" up --detach ;;
  *) fail "what is '$how'? restart or recreate" ;;
esac

[[ $(call GET "$episode" | value committed_step) == 2 ]] || fail "the episode's last step is lost"
again=$(act 2)
[[ $(value replayed <<<"$again") == true ]] || fail "step 2 was computed a second time: $again"
[[ $(value action <<<"$again") == "$(value action <<<"$before")" ]] || fail "step 2 got another action: $again"
after=$(act 3)
[[ $(value committed_step <<<"$after") == 3 ]] || fail "the episode did not go on: $after"
echo "after:  step $(value committed_step <<<"$after"), action $(value action <<<"$after")"
call DELETE "$episode" >/dev/null
echo "smoke: the episode went on after $how"
