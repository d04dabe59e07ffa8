package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/measure"
)

// loadCommand puts one load on servers that are running, and prints the result
// as JSON.
func loadCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	name := flags.String("system", "", "what is served")
	clients := flags.String("clients", "", "addresses of all servers for the load")
	ready := flags.String("ready", "", "the one among them that is ready for a load")
	pids := flags.String("pids", "", "processes whose usage counts, beside this one's")
	var cfg load.Config
	flags.BoolVar(&cfg.Reads, "reads", false, "read values of --record-size instead of writing records")
	flags.IntVar(&cfg.Inflight, "inflight", 0, "closed loop with this many records outstanding")
	flags.IntVar(&cfg.Window, "window", 0, "stream with this many bytes outstanding")
	flags.IntVar(&cfg.RecordSize, "record-size", 1024, "bytes of a record")
	flags.DurationVar(&cfg.Warmup, "warmup", time.Second, "how long to load before measuring")
	flags.DurationVar(&cfg.Duration, "duration", 4*time.Second, "how long to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := systemOf(*name)
	if err != nil {
		return err
	}
	for pid := range strings.SplitSeq(*pids, ",") {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return fmt.Errorf("--pids: %w", err)
		}
		cfg.Servers = append(cfg.Servers, measure.PID(n))
	}
	if cfg.RecordSize <= 0 {
		return errors.New("--record-size must be above 0")
	}
	t := target{clients: strings.Split(*clients, ","), ready: *ready}
	if !suits(*name, cfg.Shape) {
		return fmt.Errorf("%s cannot be put under a load like %v", *name, cfg.Shape)
	}
	var result load.Result
	if cfg.Reads {
		result, err = load.RunReads(ctx, cfg, func() (load.Reader, error) { return s.read(t) })
	} else {
		result, err = load.Run(ctx, cfg, func(sink load.Sink) (load.Client, error) { return s.dial(s, t, sink) })
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
