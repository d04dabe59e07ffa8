package walengine

import (
	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

// writeBackBytes is how much is written before the disk is set to work on it. Left
// to the next sync, all of it would keep the disk from the raft log's small syncs
// for tens of milliseconds: at half load that was the 99th percentile of what a
// writer waits.
const writeBackBytes = 1 << 20

// writeBack sets the disk to work, from time to time, on what was written to the
// last file, up to that byte of it.
func (l *groupLog) writeBack(file *logFile, end int64) {
	if end-l.begun >= writeBackBytes {
		file.WriteBack(disk.Span{From: l.begun, To: end})
		l.begun = end
	}
}

// writeOut lets the last bytes that were appended, so many, be gathered no longer with
// what comes: they are in the file when the process ends.
func (l *groupLog) writeOut(size int64) {
	file := l.active()
	at := frames.FileHeaderBytes + int64(l.end-file.base)
	file.WriteBack(disk.Span{From: at, To: at + size})
}

// cachedBytes is how much of the end of a log stays in memory for those who read
// it as it grows. The rest would push out what others need, and memory that was
// not used before costs more than to use the same again.
const cachedBytes = 16 << 20

// uncache lets go of the memory of what is durable and not new.
func (l *groupLog) uncache() {
	to := l.synced - cachedBytes
	if l.synced < cachedBytes || to <= l.uncached {
		return
	}
	for i := len(l.files) - 1; i >= 0; i-- {
		f := l.files[i]
		if f.base < to {
			f.Uncache(disk.Span{From: int64(max(f.base, l.uncached) - f.base), To: int64(to - f.base)})
		}
		if f.base <= l.uncached {
			break
		}
	}
	l.uncached = to
}
