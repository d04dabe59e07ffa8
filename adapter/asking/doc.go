// Package asking has small reads go over streams that stay open: a question and
// its answer on one take about two thirds of the time of a call, which opens a stream
// of its own. It knows which calls can be asked so, and nothing of who asks, of which node,
// or of what is to be done when it fails.
package asking
