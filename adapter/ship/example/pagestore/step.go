package pagestore

// Step is a place in the life of a compute node at which it may be killed. The
// example does so at each of them; a database has no use for it.
type Step int

// The steps, in the order in which they come.
const (
	Starting     Step = iota + 1 // nothing was asked of the storage
	Opened                       // the compute term is open, and nothing was read
	Surveyed                     // the durable end is known, and no page was read
	Recovered                    // ready for the first transaction
	Missed                       // a page is not in the pool and was not asked for
	Fetched                      // it came from the storage and is not in the pool yet
	Evicted                      // a page has left the pool for another one
	Changed                      // a transaction is complete in memory; nothing of it has left
	Announced                    // whoever waits for it knows its LSN; nothing of it has left
	Shipped                      // it is on its way and not acknowledged
	Acknowledged                 // it is durable, and nobody here was told
	Closing                      // everything is durable, and the store is about to close
)

// Steps is how many steps there are, Starting being number 1.
const Steps = int(Closing)

// String says what has happened and what has not.
func (s Step) String() string {
	words := [...]string{
		Starting:     "before it opens a compute term",
		Opened:       "its term open, nothing read",
		Surveyed:     "the durable end known, no page read",
		Recovered:    "recovered, before its first transaction",
		Missed:       "a page wanted that is not in the pool",
		Fetched:      "a page read from storage, not in the pool",
		Evicted:      "a page dropped from the pool",
		Changed:      "a transaction complete in memory only",
		Announced:    "a transaction announced, not shipped",
		Shipped:      "a transaction shipped, not acknowledged",
		Acknowledged: "a transaction durable, nobody told",
		Closing:      "everything durable, about to close",
	}
	if s < 1 || int(s) >= len(words) {
		return "an unknown step"
	}
	return words[s]
}
