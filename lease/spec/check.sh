#!/usr/bin/env bash
# Checks leases.pml exhaustively with Spin, then takes one rule away at a time and
# wants a violation each time. Needs spin and gcc (Debian: apt-get install spin gcc).
#
#   check.sh            everything; some minutes and up to MEMORY megabytes
#   check.sh mutants    only the rules taken away
#   check.sh model      only the model
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD what=${1:-all} memory=${MEMORY:-6000}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# verify NAME DEFINITION... compiles the model and leaves Spin's report in NAME.
verify() {
  local name=$1 error=0
  shift
  mkdir "$name.d"
  (cd "$name.d" && spin "$@" -a "$here/leases.pml" &&
    gcc -w -O2 -DSAFETY -DNOREDUCE -DMEMLIM="$memory" $search -o pan pan.c &&
    ./pan -m1000000 -w24) >"$name" 2>&1 || error=$?
  rm -rf "$name.d"
  [ $error -eq 0 ] || { cat "$name"; exit 1; }
}

# number of what, in Spin's report.
number() { sed -n "s/^ *\([0-9]*\) $1.*/\1/p" "$2"; }

model() {
  verify model "$@"
  grep -q 'errors: 0' model || { cat model; echo "the model is violated with $*"; exit 1; }
  ! grep -q -e 'Search not completed' -e 'max search depth too small' model ||
    { cat model; echo "the search with $* was not completed; give more MEMORY"; exit 1; }
  printf '%-72s %12s states %6.0f s  no violation\n' "$*" "$(number 'states, stored' model)" "$(sed -n 's/.*elapsed time \([0-9.e+]*\).*/\1/p' model)"
}

mutant() {
  verify mutant "$@"
  if grep -q 'errors: 1' mutant; then
    printf '%-28s a stale read after %2d steps, found in %9d states\n' "${1#-D}" \
      "$(sed -n 's/.*(at depth \([0-9]*\)).*/\1/p' mutant)" "$(number 'states, stored' mutant)"
  else
    cat mutant
    echo "NOT CAUGHT: $*"
    exit 1
  fi
}

if [ "$what" != mutants ]; then
  search=
  while read -r limits; do model $limits; done <<'LIMITS'
-DTERMS=3 -DAPPOINTMENTS=3 -DRESTARTS=0 -DFAILOVERS=0
-DTERMS=3 -DAPPOINTMENTS=2 -DRESTARTS=1 -DFAILOVERS=1
LIMITS
fi
if [ "$what" != model ]; then
  search=-DBFS # finds the shortest way
  while read -r rule more; do mutant -D"$rule" -DREADS_ONLY -DRESTARTS=0 ${more:--DTERMS=3 -DAPPOINTMENTS=2 -DFAILOVERS=0}; done <<'RULES'
WITHOUT_LEASE
WITHOUT_ACTIVATION
WITHOUT_WAIT
WITHOUT_APPLY
WITHOUT_CHECK_PER_READ
WITHOUT_SUSPENDED_TIME
WITHOUT_WAIT_AFTER_FAILOVER -DTERMS=3 -DAPPOINTMENTS=2 -DFAILOVERS=1
WITHOUT_COUNT_FROM_BEFORE
WITHOUT_DRIFT_BOUND
WITHOUT_INDEX_GATE
WITHOUT_COMMIT_GATE
WITHOUT_RELEASE_FENCE
WITHOUT_RELEASE_ANSWER
WITHOUT_SAME_TERM -DTERMS=3 -DAPPOINTMENTS=3 -DFAILOVERS=0
WITHOUT_OWN_TERM
WITHOUT_TERM
WITHOUT_OLD_TERM_REFUSED
WITHOUT_RECORD -DTERMS=3 -DAPPOINTMENTS=2 -DFAILOVERS=1
WITHOUT_CLAIM -DTERMS=3 -DAPPOINTMENTS=2 -DFAILOVERS=1
WITHOUT_EARLY_CLAIM -DTERMS=3 -DAPPOINTMENTS=2 -DFAILOVERS=1
WITHOUT_SWAP -DTERMS=3 -DAPPOINTMENTS=2 -DFAILOVERS=1
RULES
fi
