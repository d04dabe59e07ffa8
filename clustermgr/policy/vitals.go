package policy

import (
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// Health is what the failure detector thinks of a node.
type Health uint8

const (
	// Alive: heard of lately.
	Alive Health = iota
	// Silent: not heard of, and not surely gone. Nothing is decided yet.
	Silent
	// Dead: its connections are refused, or it was silent for too long.
	Dead
)

// String names the health as listings do.
func (h Health) String() string { return [...]string{"alive", "silent", "dead"}[h] }

// Thresholds turn the time since a node was last heard of into its health.
type Thresholds struct {
	Silent, Dead time.Duration
	// Held tells that silence proves no death now; see Storm.
	Held bool
}

// Vitals are the signs of life of one node. A timeout alone is not death: a
// node that misses heartbeats is asked directly, and only one that refuses the
// connection, or answers nothing for the whole threshold, is dead.
type Vitals struct {
	heard     lease.Instant // any sign of life
	refused   bool          // since then
	buried    bool          // it was found dead since then
	connected bool          // its heartbeat stream is up
	probing   bool
	probed    lease.Instant // when the last probe began; zero to ask at once
	broke     bool          // it had no answer
}

// Hear takes note of a heartbeat or an answer.
func (v *Vitals) Hear(now lease.Instant) {
	v.heard, v.refused, v.buried = max(v.heard, now), false, false
}

// Connect takes note of a new heartbeat stream.
func (v *Vitals) Connect() { v.connected = true }

// Disconnect takes note of a broken heartbeat stream.
func (v *Vitals) Disconnect() { v.connected, v.probed = false, 0 }

// Connected tells whether the heartbeat stream is up.
func (v *Vitals) Connected() bool { return v.connected }

// WantsProbe tells whether the node is to be asked for a sign of life now: at
// once when its stream broke, and again while it is silent. A process that is just
// being killed may take one more connection and break it; its address refuses the
// next one, so that is not put off.
func (v *Vitals) WantsProbe(now lease.Instant, t Thresholds) bool {
	if v.probing || v.Health(now, t) == Dead {
		return false
	}
	pause := t.Silent / 2
	if !v.connected && v.broke {
		pause = t.Silent / 16
	}
	suspect := !v.connected || now.Sub(v.heard) > t.Silent
	return suspect && now.Sub(v.probed) >= pause
}

// ProbeBegins takes note of a probe.
func (v *Vitals) ProbeBegins(now lease.Instant) { v.probing, v.probed = true, now }

// ProbeEnds takes in the end of a probe. A refused connection proves nothing
// when the node was heard of since the probe began.
func (v *Vitals) ProbeEnds(now lease.Instant, answered, refused bool) {
	v.probing, v.broke = false, !answered
	switch {
	case answered:
		v.Hear(now)
	case refused && v.probed > v.heard:
		v.refused = true
	}
}

// Health of the node now.
func (v *Vitals) Health(now lease.Instant, t Thresholds) Health {
	switch age := v.Silence(now); {
	case v.refused, v.buried, age > t.Dead && !t.Held:
		return Dead
	case age > t.Silent:
		return Silent
	}
	return Alive
}

// Bury takes note that the node was found dead: it stays so until it is heard of,
// also when silence proves nothing any more.
func (v *Vitals) Bury() { v.buried = true }

// Refused tells whether the node's address refuses connections.
func (v *Vitals) Refused() bool { return v.refused }

// Silence is for how long the node was not heard of.
func (v *Vitals) Silence(now lease.Instant) time.Duration { return max(0, now.Sub(v.heard)) }
