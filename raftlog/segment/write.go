package segment

import (
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

func (s *Store) active() *segmentFile { return s.files[len(s.files)-1] }

// begin begins a write of about that many bytes: in a new segment when the
// newest is full, and with what earlier calls have left to be written.
func (s *Store) begin(bytes int64) error {
	bytes += s.marksBytes()
	allowance := s.moveAllowance(bytes)
	if f := s.active(); f.end > f.begin && f.end+bytes+allowance > s.segmentBytes {
		if err := s.roll(); err != nil {
			return err
		}
	}
	s.resetBatch()
	s.addMarks()
	s.addMoves(allowance)
	return nil
}

func (s *Store) resetBatch() {
	f := s.active()
	s.batch.Reset(f.at(f.end), f.synced)
}

// commit ends the write that begin began.
func (s *Store) commit(sync bool) error {
	f := s.active()
	if err := f.write(&s.batch, s.fill); err != nil {
		return s.fail(err)
	}
	if sync {
		if err := f.sync(); err != nil {
			return s.fail(err)
		}
	}
	s.mu.Lock()
	for _, c := range s.batch.Changes() {
		s.index.apply(c)
	}
	s.mu.Unlock()
	if sync {
		s.reclaim()
	}
	if f.end > s.segmentBytes/4*3 && f.number != s.asked {
		s.asked = f.number
		s.keeper.want(f.number + 1)
	}
	return nil
}

// commitEmpty writes and syncs a frame without a body.
func (s *Store) commitEmpty(k frame.Kind, group pinetree.GroupID) error {
	if err := s.begin(int64(frame.Bytes(0))); err != nil {
		return s.fail(err)
	}
	s.batch.AddEmpty(k, group)
	return s.commit(true)
}

// roll syncs the newest segment and begins the next. Whatever is in the next
// one is acknowledged after that sync, and the checkpoint says what the synced
// frames say.
func (s *Store) roll() error {
	f := s.active()
	if len(s.unmarked) > 0 {
		s.resetBatch()
		s.addMarks()
		if err := f.write(&s.batch, s.fill); err != nil {
			return err
		}
	}
	if err := f.sync(); err != nil {
		return err
	}
	c := creation{number: f.number + 1, before: f.end, states: s.index.states(), fill: s.fill}
	next, err := c.create(s.fs, s.keeper.take())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.files = append(s.files, next)
	s.mu.Unlock()
	s.keeper.put(chore{ended: f})
	return nil
}

func (s *Store) marksBytes() int64 {
	return int64(len(s.unmarked) * frame.Bytes(maxUpdateHead))
}

// addMarks writes down the compactions since the last write.
func (s *Store) addMarks() {
	slices.Sort(s.unmarked)
	for _, group := range slices.Compact(s.unmarked) {
		g := s.index.groups[group]
		// The group may have been removed, and created again.
		if g != nil && g.start != (raftlog.Point{}) {
			s.batch.AddCompaction(group, g.start)
		}
	}
	s.unmarked = s.unmarked[:0]
}
