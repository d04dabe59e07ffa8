package badgerengine_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/badgerengine/database"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/lsm"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// reclaiming opens stores that ask for space all the time, so that a crash meets
// what that moves.
var reclaiming = enginetest.Backend{Open: func(dir string) (engine.Store, error) {
	db, err := database.Open(database.Options{Dir: dir, MemTableBytes: database.MinMemTableBytes, ValueFileBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	r := &restless{Database: db, Verifier: db, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { r.done <- r.reclaim(db) }()
	return lsm.Open(r)
}}

// restless is a database beneath which space is reclaimed. It is no
// sorted.Reclaimer: nobody else asks.
type restless struct {
	sorted.Database
	sorted.Verifier
	stop chan struct{}
	done chan error
}

var errStop = errors.New("the database is being closed")

func (r *restless) reclaim(db sorted.Reclaimer) error {
	pause := func() error {
		select {
		case <-r.stop:
			return errStop
		case <-time.After(time.Millisecond):
			return nil
		}
	}
	for {
		err := db.Reclaim(true, pause)
		if err == nil {
			err = pause()
		}
		switch {
		case errors.Is(err, errStop):
			return nil
		case err != nil && !errors.Is(err, pinetree.ErrDiskFull):
			return err
		}
	}
}

// Close implements sorted.Database.
func (r *restless) Close() error {
	close(r.stop)
	return errors.Join(<-r.done, r.Database.Close())
}

func TestConformanceWhileSpaceIsReclaimed(t *testing.T) {
	if os.Getenv("PINETREE_SPACE_MB") == "" {
		t.Skip("set PINETREE_SPACE_MB, for it takes twice as long as without")
	}
	enginetest.Run(t, reclaiming)
}

func TestNothingFlushedIsLostToAKillWhileSpaceIsReclaimed(t *testing.T) {
	crashtest.RunKilled(t, reclaiming, 3)
}
