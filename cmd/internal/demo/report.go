package demo

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// What is expected of the outages. More is shown in red; it fails nothing,
// because a busy machine alone can cause it.
const (
	maxFailover = 2500 * time.Millisecond
	maxMove     = 200 * time.Millisecond
)

// Result is what the demo found. It is the JSON object of --json.
type Result struct {
	OK            bool      `json:"ok"`
	Records       int       `json:"records"` // whole WAL records
	Bytes         int64     `json:"bytes"`
	SourceMD5     string    `json:"source_md5"`
	Replicas      []replica `json:"replicas"`
	ShipMBs       float64   `json:"ship_mb_s"`
	AckP50MS      float64   `json:"ack_p50_ms"`
	AckP99MS      float64   `json:"ack_p99_ms"`
	FailoverGapMS float64   `json:"failover_gap_ms"`
	MoveGapMS     float64   `json:"move_gap_ms"`
	FencedError   string    `json:"fenced_writer_error"`
	DurationS     float64   `json:"duration_s"`
}

// judge decides whether everything came back right.
func (r *Result) judge() {
	r.OK = len(r.Replicas) == nodes && r.FencedError != ""
	for _, one := range r.Replicas {
		r.OK = r.OK && r.agrees(one)
	}
}

func (r *Result) agrees(one replica) bool {
	return one.MD5 == r.SourceMD5 && one.Bytes == r.Bytes && one.Records == r.Records
}

// line is the result as one line of JSON.
func (r *Result) line() (string, error) {
	data, err := json.Marshal(r)
	return string(data), err
}

func judged(o outage, limit time.Duration) string {
	s := fmt.Sprintf("%.1f ms", o.milliseconds())
	if o.length() > limit {
		return text.FgRed.Sprintf("%s, more than the %v it should", s, limit)
	}
	return text.FgGreen.Sprint(s)
}

func right(ok bool) string {
	if ok {
		return text.FgGreen.Sprint("identical")
	}
	return text.FgRed.Sprint("DIFFERENT")
}

// summary is what a person reads at the end.
func (d *demo) summary(r *Result, counts pgwal.Counts, l latencies) string {
	var b strings.Builder
	fmt.Fprintln(&b)
	t := plainTable("", "records", "bytes", "md5", "")
	t.AppendRow(table.Row{"source", cli.Count(int64(r.Records)), cli.Count(r.Bytes), r.SourceMD5, ""})
	for _, one := range r.Replicas {
		t.AppendRow(table.Row{fmt.Sprintf("node %d", one.Node), cli.Count(int64(one.Records)), cli.Count(one.Bytes), one.MD5, right(r.agrees(one))})
	}
	fmt.Fprintln(&b, t.Render())
	fmt.Fprintf(&b, "\nIt is %s.\n\n", cli.ExplainWAL(counts))

	f := plainTable()
	f.AppendRow(table.Row{"shipped", fmt.Sprintf("%.1f MB/s at full speed; at %.1f MB/s on purpose until the faults were over", r.ShipMBs, float64(paceBytes)/1e6)})
	f.AppendRow(table.Row{"acknowledged", fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, without the %d batches that an outage kept waiting", r.AckP50MS, r.AckP99MS, l.left)})
	f.AppendRow(table.Row{"outage at the kill", judged(d.faults.failover, maxFailover)})
	f.AppendRow(table.Row{"outage at the move", judged(d.faults.move, maxMove)})
	f.AppendRow(table.Row{"replaced writer", text.WrapSoft(r.FencedError, 90)})
	f.AppendRow(table.Row{"who leads", d.leads})
	fmt.Fprintln(&b, f.Render())
	if events := d.events(); events != "" {
		fmt.Fprintf(&b, "\nWhat the manager decided:\n%s\n", events)
	}
	verdict := text.FgGreen.Sprint("every byte read back from every replica is right")
	if !r.OK {
		verdict = text.FgRed.Sprint("FAILED: a replica's log differs from the source")
	}
	fmt.Fprintf(&b, "\n%s, in %.1f s\n", verdict, r.DurationS)
	return b.String()
}

// events lists the manager's decisions since the demo began.
func (d *demo) events() string {
	if len(d.decisions) == 0 {
		return ""
	}
	t := plainTable()
	for _, e := range d.decisions {
		who := ""
		if e.Node != 0 {
			who = fmt.Sprintf("node %d", e.Node)
		}
		at := time.UnixMilli(e.UnixMs).Sub(d.began).Seconds()
		t.AppendRow(table.Row{fmt.Sprintf("%6.2f s", at), e.Kind, who, text.WrapSoft(why(e), 90)})
	}
	return t.Render()
}

func why(e *wirepb.Event) string {
	switch {
	case e.Outcome == "":
		return e.Cause
	case e.Cause == "":
		return e.Outcome
	}
	return e.Cause + "; " + e.Outcome
}

// plainTable is a table without lines.
func plainTable(columns ...string) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options = table.OptionsNoBordersAndSeparators
	if len(columns) > 0 {
		head := make(table.Row, len(columns))
		for i, c := range columns {
			head[i] = c
		}
		t.AppendHeader(head)
	}
	return t
}
