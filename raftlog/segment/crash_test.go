package segment_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/raftlogtest"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// disk is a faultfs.Disk in the suite's words.
type disk struct {
	*faultfs.Disk
	options segment.Options
	// background leaves to a goroutine what is done beside the calls, so that
	// what happens when is chance.
	background bool
}

func (d disk) Open() (raftlog.Store, error) {
	fs, err := d.Disk.Open()
	if err != nil {
		return nil, err
	}
	o := d.options
	if !d.background {
		o = segment.Inline(o)
	}
	s, err := segment.OpenFS(fs, o)
	if err != nil {
		fs.Close()
		return nil, err
	}
	return audited{s}, nil
}

// audited checks the store's accounts when it is closed.
type audited struct{ *segment.Store }

// reused counts the segments that closed stores had made of used files.
var reused atomic.Int64

func (a audited) Close() error {
	reused.Add(int64(a.Stats().Reused))
	return errors.Join(a.CheckAccounts(), a.Store.Close())
}

func (d disk) Inject(operation int, f raftlogtest.Fault) { d.Disk.Inject(operation, faultfs.Fault(f)) }

func (d disk) Crash(c raftlogtest.Crash) { d.Disk.Crash(faultfs.Crash(c)) }

func (d disk) FlipBit(bit int) bool { return d.Disk.FlipBit(bit) != "" }

func (d disk) Clone() raftlogtest.Disk { return disk{d.Disk.Clone(), d.options, d.background} }

func TestCrash(t *testing.T) {
	for name, options := range map[string]segment.Options{
		"OneSegment":    {CacheBytes: 1, SegmentBytes: 64 << 10},
		"SmallSegments": {CacheBytes: 1, SegmentBytes: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			reused.Store(0)
			raftlogtest.RunCrash(t, func(*testing.T) raftlogtest.Disk { return disk{Disk: faultfs.New(), options: options} })
			if name == "SmallSegments" && reused.Load() < 100 {
				t.Errorf("of all segments only %d were made of used files", reused.Load())
			}
		})
		t.Run(name+"InBackground", func(t *testing.T) {
			raftlogtest.RunCrashByChance(t, func(*testing.T) raftlogtest.Disk {
				return disk{Disk: faultfs.New(), options: options, background: true}
			})
		})
	}
}
