package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// Terminal tells whether a file is one, and what is written to it is read by a
// person now.
func Terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// plainInterval is how often progress is written where there is no terminal.
const plainInterval = 2 * time.Second

// Meter shows how far a long operation is: a bar on a terminal, a line now and
// then elsewhere. One goroutine calls At and Done; any may call Note.
type Meter struct {
	what  string
	total int64
	out   io.Writer
	began time.Time
	last  time.Time // when a plain line was written

	writer   progress.Writer // nil without a terminal
	tracker  *progress.Tracker
	rendered chan struct{} // closed when the writer's goroutine has ended
}

// Target is what a Meter measures: how many bytes of what there are.
type Target struct {
	What  string
	Bytes int64 // zero when it is not known
}

// NewMeter begins to show progress on standard error.
func NewMeter(t Target) *Meter {
	m := &Meter{what: t.What, total: t.Bytes, out: os.Stderr, began: time.Now(), last: time.Now()}
	if !Terminal(os.Stderr) {
		return m
	}
	m.writer = progress.NewWriter()
	m.writer.SetOutputWriter(os.Stderr)
	m.writer.SetAutoStop(false)
	m.writer.SetUpdateFrequency(100 * time.Millisecond)
	m.writer.SetTrackerLength(30)
	m.writer.SetStyle(progress.StyleBlocks)
	m.writer.Style().Visibility.TrackerOverall = false
	m.writer.Style().Visibility.ETA = t.Bytes > 0
	m.tracker = &progress.Tracker{Message: t.What, Total: t.Bytes, Units: progress.UnitsBytes}
	m.writer.AppendTracker(m.tracker)
	m.rendered = make(chan struct{})
	go func() {
		defer close(m.rendered)
		m.writer.Render()
	}()
	return m
}

// At shows how many bytes are done.
func (m *Meter) At(done int64) {
	if m.tracker != nil {
		m.tracker.SetValue(done)
		return
	}
	if time.Since(m.last) >= plainInterval {
		m.last = time.Now()
		m.line(done)
	}
}

func (m *Meter) line(done int64) {
	rate := float64(done) / 1e6 / max(time.Since(m.began).Seconds(), 1e-3)
	if m.total > 0 {
		fmt.Fprintf(m.out, "%s: %.1f of %.1f MB, %.1f MB/s\n", m.what, float64(done)/1e6, float64(m.total)/1e6, rate)
		return
	}
	fmt.Fprintf(m.out, "%s: %.1f MB, %.1f MB/s\n", m.what, float64(done)/1e6, rate)
}

// Note writes a line beside the progress.
func (m *Meter) Note(format string, args ...any) {
	if m.writer != nil {
		m.writer.Log(format, args...)
		return
	}
	fmt.Fprintf(m.out, format+"\n", args...)
}

// Done ends the display; the last state stays to be read.
func (m *Meter) Done(done int64, err error) {
	if m.writer == nil {
		m.line(done)
		return
	}
	m.tracker.SetValue(done)
	if err != nil {
		m.tracker.MarkAsErrored()
	} else {
		m.tracker.MarkAsDone()
	}
	m.writer.Stop()
	<-m.rendered
}

// Colors turns the colours of this process on or off: they are for a person at a
// terminal who wants them. Nothing else may run meanwhile.
func Colors(out io.Writer) {
	if f, ok := out.(*os.File); ok && Terminal(f) && os.Getenv("NO_COLOR") == "" {
		text.EnableColors()
		return
	}
	text.DisableColors()
}
