// Package storepb is what Pinetree writes down: the batch, the raft entry's
// payload, the raft entry's own frame and the messages of store.proto. All of
// it must stay readable for ever. It knows formats, not files.
package storepb

//go:generate go run ../internal/protogen -root ../..
