package database

import (
	"context"
	"fmt"
	"log/slog"
)

// pebbleLog is pebble's logger. Pebble ends the process after an error of its
// log or its manifest. Where that is met in a call of ours, it is the call's
// error and the end of all writes; in the background it remains the end of the
// process, for there is nobody to tell.
type pebbleLog struct{ log *slog.Logger }

// Infof implements pebble.Logger.
func (l pebbleLog) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger.
func (l pebbleLog) Fatalf(format string, args ...any) {
	f := fatal{text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			f.cause = err
		}
	}
	panic(f)
}

// fatal is what pebble ends a process for, as an error.
type fatal struct {
	text  string
	cause error // or nil
}

func (f fatal) Error() string { return f.text }

func (f fatal) Unwrap() error { return f.cause }

// caught makes an error of a panic of pebble's.
func caught(fn func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			err = p
		case error:
			err = fmt.Errorf("pebble: %w", p)
		default:
			err = fmt.Errorf("pebble: %v", p)
		}
	}()
	return fn()
}
