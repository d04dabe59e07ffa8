package gateway

import (
	"net/http"
	"time"
)

// takeTimeout bounds how long a client may take nothing of a part of an answer.
const takeTimeout = time.Minute

// taking is how an answer goes to a client that may stop to take it: it ends then,
// rather than to keep its volume, and its place among the watches, for ever.
type taking struct {
	http.ResponseWriter
	client *http.ResponseController
	most   time.Duration
}

// Write implements http.ResponseWriter.
func (w taking) Write(part []byte) (int, error) {
	defer w.bound()()
	return w.ResponseWriter.Write(part)
}

// Flush implements http.Flusher.
func (w taking) Flush() {
	defer w.bound()()
	_ = w.client.Flush() // the next Write says what went wrong
}

// Unwrap is for http.ResponseController.
func (w taking) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bound sets the deadline of what is written next. Between two parts there is none: a
// watch may have nothing to say for long.
func (w taking) bound() (over func()) {
	_ = w.client.SetWriteDeadline(time.Now().Add(w.most)) // recorders of tests have none
	return func() { _ = w.client.SetWriteDeadline(time.Time{}) }
}
