package pgwal

import "github.com/pinetree-db/pinetree"

// DamageError says which segment and which record is damaged or missing.
// Everything before LSN was delivered and is sound.
type DamageError struct {
	// Segment is the name of the file in which the fault shows, or that is
	// missing.
	Segment string
	// LSN is where the first record that is not delivered begins.
	LSN pinetree.LSN
	// What is wrong.
	What string
	// Incomplete tells that a crash, or a copy made while PostgreSQL wrote,
	// looks the same: the record stops where nothing was written yet.
	Incomplete bool
}

// Error says it in words.
func (e *DamageError) Error() string {
	return "corrupt WAL: segment " + e.Segment + ": record at " + e.LSN.String() + ": " + e.What
}

// Unwrap makes errors.Is(err, pinetree.ErrCorrupt) true.
func (e *DamageError) Unwrap() error { return pinetree.ErrCorrupt }
