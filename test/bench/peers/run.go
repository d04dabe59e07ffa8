package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/report"
)

// tmpfsMagic is what statfs says of a file system in memory.
const tmpfsMagic = 0x01021994

// plan is what a run does.
type plan struct {
	rounds   int
	loads    []load.Shape
	systems  []string
	warmup   time.Duration
	duration time.Duration
	dir      string
	pinetree *pinetree
}

func runCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "how often each load is put on each system")
	loads := flags.String("loads", strings.Join(report.Loads, ","),
		"what to measure: closed:RECORDS:SIZE or stream:WINDOW:SIZE, each with :GROUPS or without, read:READS:SIZE, or "+allReads+" for the usual ones of these")
	names := flags.String("systems", strings.Join(defaultSystems, ","), "what to compare; pinetree:ENGINE is Pinetree with that engine")
	quick := flags.Bool("quick", false, "one round of one second, to see that everything works; its figures mean little")
	asJSON := flags.Bool("json", false, "print one JSON object instead of tables")
	out := flags.String("out", "", "add each measurement to this file as a line of JSON, as soon as it is made")
	p := plan{pinetree: &pinetree{}}
	flags.DurationVar(&p.warmup, "warmup", time.Second, "how long to load before measuring")
	flags.DurationVar(&p.duration, "duration", 4*time.Second, "how long to measure")
	flags.StringVar(&p.dir, "dir", "", "where to make the temporary directory, on a real disk; the system's place for such when empty")
	flags.StringVar(&p.pinetree.binary, "pinetree", "", "the pinetree to measure; built from this repository when empty")
	flags.StringVar(&p.pinetree.args, "pinetree-args", "", "more arguments for `pinetree bench ship`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p.rounds = *rounds
	if *quick {
		p.rounds, p.duration = 1, time.Second
	}
	if err := p.choose(*loads, *names); err != nil {
		return err
	}
	measured, err := p.execute(ctx, *out)
	if len(measured) > 0 {
		err = errors.Join(err, printReport(os.Stdout, p.settings(), measured, *asJSON))
	}
	return err
}

// allReads is a word for the loads of report.Reads.
const allReads = "reads"

func (p *plan) choose(loads, names string) error {
	loads = strings.ReplaceAll(loads, allReads, strings.Join(report.Reads, ","))
	for text := range strings.SplitSeq(loads, ",") {
		shape, err := load.ParseShape(text)
		if err != nil {
			return err
		}
		p.loads = append(p.loads, shape)
	}
	for name := range strings.SplitSeq(names, ",") {
		if !report.IsPinetree(name) {
			if _, err := systemOf(name); err != nil {
				return err
			}
		}
		p.systems = append(p.systems, name)
	}
	return nil
}

// execute measures everything, the systems in a new order each time, so that a
// machine that becomes slower does so for all of them. What fails is noted and
// the run goes on; the error tells of it at the end.
func (p *plan) execute(ctx context.Context, out string) (measured []report.Measurement, err error) {
	if p.dir, err = os.MkdirTemp(p.dir, "peers-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	if err := refuseMemory(p.dir); err != nil {
		return nil, err
	}
	if err := p.pinetree.prepare(ctx, p.dir, p.systems); err != nil {
		return nil, err
	}
	store := io.Discard
	if out != "" {
		file, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		store = file
	}
	failed := 0
	for round := 1; round <= p.rounds; round++ {
		for _, shape := range p.loads {
			for _, i := range rand.Perm(len(p.systems)) {
				name := p.systems[i]
				if !suits(name, shape) {
					continue
				}
				m := report.Measurement{Round: round, Load: shape.String(), System: name}
				var err error
				if m.Result, err = p.measure(ctx, name, shape); err != nil {
					m.Error = err.Error()
					failed++
				}
				if ctx.Err() != nil {
					return measured, ctx.Err()
				}
				fmt.Fprintf(os.Stderr, "%s round %d, %s, %s: %s\n", time.Now().Format(time.TimeOnly), round, m.Load, name,
					cmp.Or(m.Error, fmt.Sprintf("%.0f ops/s, p50 %.0f µs", m.Result.OpsPerSecond, m.Result.P50)))
				measured = append(measured, m)
				if err := json.NewEncoder(store).Encode(m); err != nil {
					return measured, err
				}
			}
		}
	}
	if failed > 0 {
		err = fmt.Errorf("%d of %d measurements failed", failed, len(measured))
	}
	return measured, err
}

// measure starts a system anew, puts one load on it, and removes what it wrote.
func (p *plan) measure(ctx context.Context, name string, shape load.Shape) (result load.Result, err error) {
	dir, err := os.MkdirTemp(p.dir, "run-")
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := load.Config{Shape: shape, Warmup: p.warmup, Duration: p.duration}
	if report.IsPinetree(name) && shape.Reads {
		return p.pinetree.read(ctx, name, dir, cfg)
	}
	if report.IsPinetree(name) {
		return p.pinetree.load(ctx, name, dir, cfg)
	}
	c, err := startCluster(ctx, name, dir)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	return c.load(ctx, cfg)
}

// refuseMemory: a sync of a file in memory is no sync.
func refuseMemory(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if fs.Type == tmpfsMagic {
		return fmt.Errorf("%s is in memory; give a folder on a real disk with --dir", filepath.Dir(dir))
	}
	return nil
}

// settings are what the figures depend on, beside the machine.
type settings struct {
	Rounds   int      `json:"rounds"`
	Warmup   float64  `json:"warmup_s"`
	Duration float64  `json:"duration_s"`
	Pinetree []string `json:"pinetree_args"`
	CPUs     int      `json:"cpus"`
	Go       string   `json:"go"`
	Versions []string `json:"versions"`
}

func (p *plan) settings() settings {
	return settings{
		Rounds: p.rounds, Warmup: p.warmup.Seconds(), Duration: p.duration.Seconds(),
		Pinetree: strings.Fields(p.pinetree.args), CPUs: runtime.NumCPU(), Go: runtime.Version(), Versions: versions(),
	}
}

func printReport(w io.Writer, s settings, measured []report.Measurement, asJSON bool) error {
	cells := report.Medians(measured)
	if !asJSON {
		_, err := io.WriteString(w, report.Markdown(cells))
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string]any{"config": s, "medians": cells, "bars": report.Judge(cells), "measurements": measured})
}

// reportCommand prints the tables of what runs have stored with --out.
func reportCommand(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON object instead of tables")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("report wants the files that runs have written with --out")
	}
	var measured []report.Measurement
	for _, name := range flags.Args() {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		for d := json.NewDecoder(bufio.NewReader(file)); ; {
			var m report.Measurement
			if err := d.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			measured = append(measured, m)
		}
	}
	return printReport(os.Stdout, settings{CPUs: runtime.NumCPU(), Go: runtime.Version(), Versions: versions()}, measured, *asJSON)
}
