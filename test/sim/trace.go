package sim

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"strings"
	"time"
)

// traceLines is how many of the last lines a failure shows.
const traceLines = 250

// trace keeps the last lines and a sum over all of them, which two runs of one
// seed must have in common.
type trace struct {
	lines []line
	next  int
	sum   hash.Hash64
	buf   []byte
	out   io.Writer // when not nil, every line is written here
}

// line is one thing that happened. It becomes text only when it is shown.
type line struct {
	at      time.Duration
	who     string
	what    string
	numbers []uint64
}

// String is the line as a failure shows it.
func (l line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%12.6fs  %-8s %s", l.at.Seconds(), l.who, l.what)
	for _, n := range l.numbers {
		fmt.Fprintf(&b, " %d", n)
	}
	return b.String()
}

func newTrace(out io.Writer) trace {
	return trace{lines: make([]line, 0, traceLines), sum: fnv.New64a(), out: out}
}

func (t *trace) add(l line) {
	t.buf = binary.LittleEndian.AppendUint64(t.buf[:0], uint64(l.at))
	t.buf = append(t.buf, l.who...)
	t.buf = append(t.buf, l.what...)
	for _, n := range l.numbers {
		t.buf = binary.LittleEndian.AppendUint64(t.buf, n)
	}
	t.sum.Write(t.buf)
	if t.out != nil {
		fmt.Fprintln(t.out, l)
	}
	if len(t.lines) < traceLines {
		t.lines = append(t.lines, l)
		return
	}
	t.lines[t.next] = l
	t.next = (t.next + 1) % traceLines
}

// tail is the last lines, oldest first.
func (t *trace) tail() string {
	var b strings.Builder
	for i := range t.lines {
		fmt.Fprintln(&b, t.lines[(t.next+i)%len(t.lines)])
	}
	return b.String()
}
