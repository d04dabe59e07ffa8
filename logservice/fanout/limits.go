package fanout

// Limits bound what the tails of a node take. DefaultLimits are tested together.
type Limits struct {
	// RingBytes bounds a volume's ring, and NodeBytes all rings together: they get
	// equal shares of it when there are many.
	RingBytes, NodeBytes int
	// ResponseBytes is about how much of the log one answer carries, and
	// UntakenBytes what all tails together may have been sent that their clients
	// have not taken: with many tails answers become smaller, down to
	// minResponseBytes. A batch that is larger makes an answer of its own.
	ResponseBytes, UntakenBytes int
	// Tails bounds those that are open.
	Tails int
	// CatchUps bounds the tails that read the engine's log at the same time, and
	// ShelfBytes what is kept of what was read, for others that are at about the
	// same place.
	CatchUps   int
	ShelfBytes int
	// MinCatchUpRate and MaxCatchUpRate are the bounds, in bytes a second, of what
	// all tails that are behind are sent while somebody writes; in between it is as
	// much as does not make the machine late for others.
	MinCatchUpRate, MaxCatchUpRate int
}

// minResponseBytes is below what answers do not shrink.
const minResponseBytes = 64 << 10

// DefaultLimits are the tested defaults.
func DefaultLimits() Limits {
	return Limits{
		RingBytes:      8 << 20,
		NodeBytes:      64 << 20,
		ResponseBytes:  1 << 20,
		UntakenBytes:   128 << 20,
		Tails:          4096,
		CatchUps:       2,
		ShelfBytes:     16 << 20,
		MinCatchUpRate: 12 << 20,
		MaxCatchUpRate: 64 << 20,
	}
}

// response is how much one answer carries when so many tails are open. Each may
// have two of them under way: one with its client, one that waits for it.
func (l Limits) response(tails int) int {
	return max(minResponseBytes, min(l.ResponseBytes, l.UntakenBytes/(2*max(1, tails))))
}

// share is how large a ring may become when there are so many.
func (l Limits) share(rings int) int {
	return min(l.RingBytes, l.NodeBytes/max(1, rings))
}
