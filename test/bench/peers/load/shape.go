package load

import (
	"fmt"
	"strconv"
	"strings"
)

// A Shape is one load. Either Inflight or Window is set.
type Shape struct {
	// Reads reads values of RecordSize in a closed loop, instead of writing
	// records.
	Reads      bool
	Inflight   int // workers of a closed loop
	Window     int // unacknowledged bytes of a stream
	RecordSize int // bytes
	// Groups is how many raft groups share the load. Only Pinetree has more
	// than one.
	Groups int
}

// String is the shape as ParseShape reads it.
func (s Shape) String() string {
	text := fmt.Sprintf("closed:%d:%d", s.Inflight, s.RecordSize)
	if s.Reads {
		text = fmt.Sprintf("read:%d:%d", s.Inflight, s.RecordSize)
	}
	if s.Window > 0 {
		text = fmt.Sprintf("stream:%d:%d", s.Window, s.RecordSize)
	}
	if s.Groups > 1 {
		text += fmt.Sprintf(":%d", s.Groups)
	}
	return text
}

// ParseShape reads closed:RECORDS:SIZE or stream:WINDOW:SIZE, each with
// :GROUPS after it or without, or read:READS:SIZE. All are plain numbers; sizes are
// bytes.
func ParseShape(text string) (Shape, error) {
	parts := strings.Split(text, ":")
	wrong := fmt.Errorf("%q is no load; write closed:RECORDS:SIZE or stream:WINDOW:SIZE, and :GROUPS for more than one, or read:READS:SIZE", text)
	if len(parts) < 3 || len(parts) > 4 {
		return Shape{}, wrong
	}
	numbers := []int{0, 0, 1}
	for i, part := range parts[1:] {
		n, err := strconv.Atoi(part)
		if err != nil || n <= 0 {
			return Shape{}, wrong
		}
		numbers[i] = n
	}
	s := Shape{RecordSize: numbers[1], Groups: numbers[2]}
	switch parts[0] {
	case "closed":
		s.Inflight = numbers[0]
	case "read":
		if len(parts) > 3 {
			return Shape{}, wrong
		}
		s.Reads, s.Inflight = true, numbers[0]
	case "stream":
		s.Window = numbers[0]
	default:
		return Shape{}, wrong
	}
	return s, nil
}
