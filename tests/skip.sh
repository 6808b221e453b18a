# Sourced by test scripts. skip NAME REASON: reports that a test does not run; see tests/all.
skip() {
  echo "SKIPPED $1: $2"
  [ -z "${NPC_TEST_SKIPS:-}" ] || echo "SKIPPED $1: $2" >>"$NPC_TEST_SKIPS"
}
