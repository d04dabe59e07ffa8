package bench

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// Result is what was measured. Scripts depend on its JSON. A figure is null
// when the cluster was not started by the run, so that its processes cannot be
// observed.
type Result struct {
	// OpsPerSecond counts acknowledged records, MBPerSecond their payloads in
	// millions of bytes.
	OpsPerSecond float64 `json:"ops_s"`
	MBPerSecond  float64 `json:"mb_s"`
	// The latencies are from appending to acknowledgement, in microseconds.
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	// CPUPer100k is the CPU time, in seconds, that all processes (the load, the
	// nodes, the manager) took for 100,000 records within the interval.
	CPUPer100k *float64 `json:"cpu_s_per_100k"`
	CPU        cpuShare `json:"cpu_s"`
	// WrittenPerByte is how many bytes one replica wrote to its raft log for
	// each byte of payload, the mean of the nodes; null when the raft log store
	// does not count.
	WrittenPerByte *float64 `json:"bytes_written_per_payload_byte"`
	// FsyncsPerCommit is how often one node synced its raft log for each
	// acknowledged record, the mean of the nodes; what the store syncs ahead
	// and beside counts.
	FsyncsPerCommit *float64 `json:"fsyncs_per_commit"`
	// RSSPeakMB is the most memory that a node ever had, LogDiskPeakMB the most
	// that the files of a raft log took within the interval. The growths are by
	// how much either grew within it, its first quarter left out.
	RSSPeakMB       *float64 `json:"rss_peak_mb"`
	RSSGrowthMB     *float64 `json:"rss_growth_mb"`
	LogDiskPeakMB   *float64 `json:"log_disk_peak_mb"`
	LogDiskGrowthMB *float64 `json:"log_disk_growth_mb"`
	// CaughtUpMS is how long after the last acknowledgement every replica had
	// replayed everything.
	CaughtUpMS float64 `json:"caught_up_ms"`
	// Resumes is how often shipping began anew, after a lost connection or
	// because leadership moved.
	Resumes uint64 `json:"resumes"`
	// Records and Seconds are the interval's, Timed how many latencies were
	// taken in it.
	Records int64   `json:"records"`
	Seconds float64 `json:"seconds"`
	Timed   int64   `json:"timed"`

	Config Settings `json:"config"`
}

// cpuShare is the CPU time within the interval, in seconds. Others is what the
// machine did beside: a figure that comes from a busy machine says little.
type cpuShare struct {
	Load    float64  `json:"load"`
	Nodes   *float64 `json:"nodes"`
	Manager *float64 `json:"manager"`
	Others  *float64 `json:"others"`
}

// Settings are all that a result depends on.
type Settings struct {
	Mode        Mode     `json:"mode"`
	RecordBytes int      `json:"record_size,omitempty"`
	WAL         string   `json:"wal,omitempty"`
	Workers     int      `json:"inflight"`
	WindowBytes int      `json:"window"`
	Together    int      `json:"together"`
	Compress    bool     `json:"compress"`
	Rate        float64  `json:"rate"`
	DurationS   float64  `json:"duration_s"`
	WarmupS     float64  `json:"warmup_s"`
	Groups      int      `json:"groups"`
	Volumes     int      `json:"volumes"`
	Format      string   `json:"format"`
	Targets     []string `json:"target,omitempty"`
	Nodes       int      `json:"nodes,omitempty"`
	Engine      string   `json:"engine,omitempty"`
	RaftLog     string   `json:"raftlog,omitempty"`
	Transport   string   `json:"transport,omitempty"`
	NodeArgs    []string `json:"node_args,omitempty"`
	// WrittenBy is the metric that counted the bytes written.
	WrittenBy string `json:"bytes_written_by,omitempty"`
	CPUs      int    `json:"cpus"`
	Go        string `json:"go"`
}

// settings of a run.
func (c Config) settings() Settings {
	s := Settings{
		Mode: c.Mode(), WAL: c.WAL, RecordBytes: c.RecordBytes, WindowBytes: c.window(), Together: c.Together, Compress: c.Compress, Rate: c.Rate,
		DurationS: c.Duration.Seconds(), WarmupS: c.Warmup.Seconds(),
		Groups: c.Groups, Volumes: c.Volumes, Format: c.Format.String(), Targets: c.Targets,
		CPUs: runtime.NumCPU(), Go: runtime.Version(),
	}
	if s.Mode == Closed {
		s.Workers = c.Workers
	}
	if c.WAL != "" {
		s.RecordBytes = 0
	}
	if len(c.Targets) == 0 {
		s.Nodes, s.Engine, s.RaftLog, s.Transport, s.NodeArgs = testbed.Replicas, c.Engine, c.RaftLog, c.Transport, c.NodeArgs
	}
	return s
}

// result puts together what a run has found.
func (r *run) result() Result {
	took := testbed.NewLatencies()
	for _, lane := range r.load.lanes {
		took.Merge(lane.took)
	}
	c := r.cost
	payload := float64(c.bytes)
	result := Result{
		OpsPerSecond: rounded(c.ops()), MBPerSecond: rounded(payload / 1e6 / c.seconds),
		P50: rounded(took.Quantile(50)), P99: rounded(took.Quantile(99)), P999: rounded(took.Quantile(99.9)),
		CPU:        cpuShare{Load: rounded(c.load.Seconds())},
		CaughtUpMS: rounded(float64(r.caughtUp.Microseconds()) / 1e3),
		Resumes:    r.load.resumes(), Records: c.records, Seconds: rounded(c.seconds), Timed: took.Count(),
		Config: r.cfg.settings(),
	}
	if c.observed {
		result.CPU.Nodes, result.CPU.Manager = known(c.nodes.Seconds()), known(c.manager.Seconds())
		result.CPU.Others = known(c.others().Seconds())
		result.CPUPer100k = known(c.cpu().Seconds() / float64(c.records) * 1e5)
		result.FsyncsPerCommit = known(c.fsyncs / float64(c.records))
		result.RSSPeakMB = known(float64(r.footprint.rssPeak) / 1e6)
		result.RSSGrowthMB = known(float64(r.footprint.rssGrowth) / 1e6)
		result.LogDiskPeakMB = known(float64(r.footprint.logPeak) / 1e6)
		result.LogDiskGrowthMB = known(float64(r.footprint.logGrowth) / 1e6)
	}
	if c.logged {
		result.WrittenPerByte, result.Config.WrittenBy = known(c.loggedBytes/payload), logBytesMetric
	}
	return result
}

func (c cost) ops() float64 { return float64(c.records) / c.seconds }

// rounded leaves four significant digits, and no less than whole numbers.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, max(0, 3-math.Floor(math.Log10(math.Abs(v)))))
	return math.Round(v*scale) / scale
}

func known(v float64) *float64 {
	v = rounded(v)
	return &v
}

// columns are those of the table.
var columns = []string{
	"load", "records/s", "MB/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU s/100k", "written/byte", "fsyncs/record", "RSS MB", "caught up ms", "busy elsewhere",
}

// Table writes results one below the other.
func Table(w io.Writer, results []Result) error {
	list := cli.Listing{Columns: columns}
	for _, r := range results {
		list.Rows = append(list.Rows, []any{
			r.Config.load(), cli.Count(int64(r.OpsPerSecond)), r.MBPerSecond, r.P50, r.P99, r.P999,
			orDash(r.CPUPer100k), orDash(r.WrittenPerByte), orDash(r.FsyncsPerCommit), orDash(r.RSSPeakMB), r.CaughtUpMS, r.elsewhere(),
		})
	}
	return list.Table(w)
}

// elsewhere is the part of the machine that others took.
func (r Result) elsewhere() string {
	if r.CPU.Others == nil || r.Seconds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", *r.CPU.Others/r.Seconds/float64(r.Config.CPUs)*100)
}

func orDash(v *float64) any {
	if v == nil {
		return "–"
	}
	return *v
}

// load says the settings in a few words.
func (s Settings) load() string {
	words := []string{Size(s.RecordBytes).String()}
	if s.WAL != "" {
		words[0] = "WAL"
	}
	switch s.Mode {
	case Closed:
		words = append(words, fmt.Sprintf("× %d in flight", s.Workers))
	case Stream:
		words = append(words, "stream, window "+Size(s.WindowBytes).String())
	case Paced:
		words = append(words, fmt.Sprintf("%g/s", s.Rate))
	}
	if s.Compress {
		words = append(words, "compressed")
	}
	if s.Volumes > 1 {
		words = append(words, fmt.Sprintf("%d groups", s.Groups))
	}
	return strings.Join(words, " ")
}
