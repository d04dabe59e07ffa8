// Package outcome keeps those who wait for what their transactions on metadata
// come to, between the proposal and the replay on the same node. It knows neither
// raft nor the engine, and does not wait itself.
package outcome

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/replay"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Limits of what waits in one group.
const (
	MaxQuestions = 1024
	MaxBytes     = 16 << 20 // of the transactions
)

// Board holds the questions of one group. The zero Board is ready; any goroutine
// may use it.
type Board struct {
	mu        sync.Mutex
	questions map[storepb.Asker]*Question
	bytes     int
}

// Question is one transaction that was or will be proposed.
type Question struct {
	board   *Board
	asker   storepb.Asker
	bytes   int
	outcome *replay.Outcome // guarded by the board's lock
}

// Ask makes room for the question after a transaction of so many bytes, or refuses
// it with pinetree.ErrQueueFull.
func (b *Board) Ask(bytes int) (*Question, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.questions); n >= MaxQuestions || n > 0 && b.bytes+bytes > MaxBytes {
		return nil, fmt.Errorf("%w: %d metadata transactions of %d bytes wait; wait and send again", pinetree.ErrQueueFull, n, b.bytes)
	}
	q := &Question{board: b, asker: storepb.Asker(rand.Uint64()), bytes: bytes}
	for q.asker == 0 || b.questions[q.asker] != nil {
		q.asker++
	}
	if b.questions == nil {
		b.questions = map[storepb.Asker]*Question{}
	}
	b.questions[q.asker] = q
	b.bytes += bytes
	return q, nil
}

// Deliver gives outcomes to those who wait here. Most outcomes are nobody's: a
// transaction is replayed on every replica and asked about on one.
func (b *Board) Deliver(outcomes []replay.Outcome) {
	if len(outcomes) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range outcomes {
		if q := b.questions[o.Asker]; q != nil {
			q.outcome = &o
		}
	}
}

// Asker goes with the transaction into the log.
func (q *Question) Asker() storepb.Asker { return q.asker }

// Outcome is what was delivered, or nil.
func (q *Question) Outcome() *replay.Outcome {
	q.board.mu.Lock()
	defer q.board.mu.Unlock()
	return q.outcome
}

// Close takes the question back.
func (q *Question) Close() {
	q.board.mu.Lock()
	defer q.board.mu.Unlock()
	if q.board.questions[q.asker] == q {
		delete(q.board.questions, q.asker)
		q.board.bytes -= q.bytes
	}
}
