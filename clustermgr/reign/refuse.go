package reign

import "github.com/pinetree-db/pinetree/clustermgr/refusal"

// refuse makes an error that travels as the sentinel.
func refuse(sentinel error, format string, args ...any) error {
	return refusal.As(sentinel, format, args...)
}

// notYet makes an error for a request that is right and too early.
func notYet(format string, args ...any) error { return refusal.NotYet(format, args...) }

// NotActive sends the caller to the active manager.
func NotActive(active string) error { return refusal.NotActive(active) }
