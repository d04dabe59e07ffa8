// Package e2e tests Pinetree as its users run it: real processes of the built
// binary, real gRPC, real fsync, kill -9, pauses and partitions. It knows
// nothing of the insides but what a client can see.
//
// The default size fits `go test ./...`, and leaves the longest out; PINETREE_E2E=short
// runs all tests, and `make e2e` all rounds of them.
//
// # Measurements
//
// Some tests measure how long a group is without a leader that acknowledges. In
// full size they hold it to bars, which mean something only on a machine that does
// nothing else meanwhile; in the default size the bars are wide. The figures are
// logged, printed as one table at the end, and written as JSON to the file that
// PINETREE_E2E_REPORT names. PINETREE_E2E_ROUNDS changes the number of rounds, and
// PINETREE_E2E_MINUTES the length of the mixed load. From the folder of the module:
//
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestFailoverOfAKilledLeader'           2 minutes
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestFailoverOfManyGroups'              20 seconds
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestPlannedMovesUnderFullLoad'         1 to 2 minutes
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestFailoverOfALeaderWithAHungDisk'    1 minute
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestAPausedLeaderServesNothingStale'   2 to 4 minutes
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestManagersAreNotInTheDataPath'       90 seconds
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestReadsAreLinearizable'              31 minutes
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 60m -v -run 'TestMetadata'                          11 minutes
//	PINETREE_E2E=full go test ./test/e2e -count=1 -timeout 120m -v -run 'TestManyTails'                        5 to 16 minutes
//	PINETREE_E2E_WEEK_GIB=20 PINETREE_E2E_WEEK_CHART=../../docs/week.svg go test ./test/e2e -count=1 -timeout 120m -v -run TestAWeekOfRedo   20 minutes
//
// PINETREE_E2E_TAILS=900,100,1024 changes how many tails are live and how many begin
// behind, by so many MiB; with these set PINETREE_E2E_ROUNDS=1. So 100 GiB go to
// tails that are behind, beside the 90 MB a second or so to those that are live at
// 200 records a second. While somebody writes, each of the two nodes that send them
// gives those that are behind 12 to 64 MiB a second, as much as the machine has to
// spare: 16 minutes altogether when it does nothing else, and over an hour when it
// has far more to do than it can.
//
// The hung disk needs strace and the right to trace, and metadata over HTTP needs
// curl; without them these tests are skipped.
package e2e
