package sorted

import "sync/atomic"

// Failure holds the first error after which nothing is written.
type Failure struct{ first atomic.Pointer[error] }

// Set reports whether this is the first error.
func (f *Failure) Set(err error) bool { return f.first.CompareAndSwap(nil, &err) }

// Clear forgets the error.
func (f *Failure) Clear() { f.first.Store(nil) }

// Get is the first error, or nil.
func (f *Failure) Get() error {
	if err := f.first.Load(); err != nil {
		return *err
	}
	return nil
}
