package database

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// badgerLog is the DB as badger's logger. Badger goes on after errors in
// its background work, such as a memtable that cannot be flushed or a table
// that is damaged, and only logs them; here each of them stops all writes.
type badgerLog DB

// Errorf implements badger.Logger. A value that cannot be read is not an error
// of the store: the read meets an empty value, and says that it is damaged.
func (l *badgerLog) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, "Unable to read: Key") || strings.HasPrefix(format, "Key: %v, Version") {
		l.Warningf(format, args...)
		return
	}
	err := fmt.Errorf("badger: %s", strings.TrimSpace(fmt.Sprintf(format, args...)))
	l.log.Error("badger reports an error", "error", err)
	(*DB)(l).Fail(err)
}

// Warningf implements badger.Logger.
func (l *badgerLog) Warningf(format string, args ...any) {
	l.log.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Infof implements badger.Logger. It is where a step of flatten begins.
func (l *badgerLog) Infof(format string, args ...any) {
	l.Debugf(format, args...)
	if strings.HasPrefix(format, flattenStep) && l.beforeStep != nil {
		l.beforeStep()
	}
}

// Debugf implements badger.Logger.
func (l *badgerLog) Debugf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
