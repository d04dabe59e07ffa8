package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// Metrics of a node that count the work of its raft log: the store's own, and
// the saves that waited for a sync, for a store that does not count.
const (
	logBytesMetric = "pinetree_raftlog_written_bytes_total"
	syncsMetric    = "pinetree_raftlog_syncs_total"
	savesMetric    = "pinetree_raftlog_fsync_seconds_count"
)

// scrapeTimeout bounds the asking of a node for its metrics.
const scrapeTimeout = 5 * time.Second

// usage is what has been done and used up to an instant.
type usage struct {
	at      time.Time
	records int64
	bytes   int64         // of payload
	load    time.Duration // CPU of this process
	machine time.Duration // CPU of everybody
	manager time.Duration
	nodes   []nodeUsage // empty when the cluster was there before
}

type nodeUsage struct {
	cpu     time.Duration
	metrics map[string]float64
}

// use takes stock. Figures of processes are left out where the system has no
// /proc.
func use(ctx context.Context, s *testbed.Servers, l *load) (usage, error) {
	u := usage{at: time.Now(), records: l.records(), bytes: l.bytes()}
	var err error
	if u.load, err = testbed.OwnCPU(); err != nil || !observable(s) {
		return u, err
	}
	if u.machine, err = testbed.MachineCPU(); err != nil {
		return u, err
	}
	if u.manager, err = testbed.Process(s.Cluster.Manager.Pid()).CPU(); err != nil {
		return u, err
	}
	for _, p := range s.Nodes() {
		at := testbed.Process(p.Pid())
		var n nodeUsage
		if n.cpu, err = at.CPU(); err == nil {
			n.metrics, err = scrape(ctx, p)
		}
		if err != nil {
			return u, fmt.Errorf("%s: %w", p.Name, err)
		}
		u.nodes = append(u.nodes, n)
	}
	return u, nil
}

// observable tells whether the processes can be looked at.
func observable(s *testbed.Servers) bool { return testbed.Observable() && s.Cluster != nil }

// scrape reads a node's metrics.
func scrape(ctx context.Context, p *localcluster.Process) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	body, err := get(ctx, "http://"+p.Metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(text)), nil
}

// get asks for a page; the caller closes the body.
func get(ctx context.Context, url string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return response.Body, nil
}

// parseMetrics reads the metrics without labels.
func parseMetrics(text string) map[string]float64 {
	metrics := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.ContainsAny(name, "#{") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			metrics[name] = v
		}
	}
	return metrics
}

// cost is what lies between two usages.
type cost struct {
	seconds              float64
	records, bytes       int64
	load, manager, nodes time.Duration
	machine              time.Duration
	// loggedBytes and fsyncs are means of the nodes; the first is known only of
	// stores that count what they write.
	loggedBytes float64
	logged      bool
	fsyncs      float64
	observed    bool
}

func between(from, to usage) cost {
	c := cost{
		seconds: to.at.Sub(from.at).Seconds(), records: to.records - from.records, bytes: to.bytes - from.bytes,
		load: to.load - from.load, manager: to.manager - from.manager,
		machine:  to.machine - from.machine,
		observed: len(to.nodes) > 0, logged: len(to.nodes) > 0,
	}
	share := 1 / float64(max(len(to.nodes), 1))
	for i, n := range to.nodes {
		before := from.nodes[i]
		c.nodes += n.cpu - before.cpu
		syncs := syncsMetric
		if _, counted := n.metrics[logBytesMetric]; !counted {
			c.logged, syncs = false, savesMetric
		}
		c.fsyncs += share * (n.metrics[syncs] - before.metrics[syncs])
		c.loggedBytes += share * (n.metrics[logBytesMetric] - before.metrics[logBytesMetric])
	}
	return c
}

// cpu is that of all processes of the run that could be observed.
func (c cost) cpu() time.Duration { return c.load + c.manager + c.nodes }

// others is what processes took that have nothing to do with the run.
func (c cost) others() time.Duration { return max(0, c.machine-c.cpu()) }
