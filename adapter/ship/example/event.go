package main

import (
	"encoding/json"
	"os"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship/example/pagestore"
)

// What an event tells.
const (
	opened    = "opened"   // a compute node has recovered; Term, LSN (where the log ended), Commits
	shipping  = "shipping" // a transaction is complete and about to leave; Txn, Term, LSN, Moves or Found
	done      = "done"     // it is durable; Txn
	undone    = "undone"   // it has not happened and never will; Txn, Error
	standing  = "standing" // the process stands still at Step, to be killed
	fenced    = "fenced"   // another compute node has taken over; Error
	looked    = "looked"   // a read-only compute node has taken a snapshot; LSN, Least, Commits, Sum, Hash, Node
	closed    = "closed"   // the process ends because it was asked to
	failedFor = "failed"   // the process ends for another reason; Error
	told      = lastStep   // the step after the last one of the store: the client was told
	lastStep  = pagestore.Steps + 1
)

// event is what a process says, a line each.
type event struct {
	What    string               `json:"what"`
	Txn     uint64               `json:"txn,omitempty"` // numbered by the process
	Term    pinetree.ComputeTerm `json:"term,omitempty"`
	LSN     pinetree.LSN         `json:"lsn,omitempty"`
	Least   pinetree.LSN         `json:"least,omitempty"` // that the snapshot had to be at
	Found   bool                 `json:"found,omitempty"`
	Moves   []move               `json:"moves,omitempty"`
	Commits uint64               `json:"commits,omitempty"`
	Step    int                  `json:"step,omitempty"`
	Sum     int64                `json:"sum,omitempty"`
	Hash    uint64               `json:"hash,omitempty"`
	Node    pinetree.NodeID      `json:"node,omitempty"`
	Error   string               `json:"error,omitempty"`
}

var mouth sync.Mutex

// emit says what has happened. It is with whoever listens on return, and lost by no
// kill.
func emit(e event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // nothing in an event cannot be said
	}
	mouth.Lock()
	defer mouth.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(1) // nobody listens
	}
}

// stepName says what has happened when a process stands at a step.
func stepName(step int) string {
	if step == told {
		return "a transaction durable, its client told"
	}
	return pagestore.Step(step).String()
}
