package ship

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// outage is a client's configuration during an outage of all managers.
func outage(w *world, change func(*Config)) (*Client, error) {
	cfg := Config{
		Volume: "db", Managers: []string{w.managers[0].addr}, ManagerTimeout: 100 * time.Millisecond, ConnectTimeout: 100 * time.Millisecond,
		AttemptTimeout: 300 * time.Millisecond, RetryFor: 200 * time.Millisecond,
	}
	change(&cfg)
	return Dial(context.Background(), cfg)
}

func TestAClientStartsFromItsRouteFileWhenNoManagerAnswers(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 3)
	file := filepath.Join(t.TempDir(), "db.route")
	before := w.dial(func(cfg *Config) { cfg.RouteFile = file })
	must(t, before.Close())
	w.managers[0].stop()
	t.Cleanup(func() { w.managers[0].restart() })
	w.change(func() { w.elect(3, 0) })

	c, err := outage(w, func(cfg *Config) { in(2)(cfg); cfg.RouteFile = file })
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	if state, err := c.Reader(ReadConfig{}).State(within(t)); err != nil || state.Node != 3 || state.LSN != made[2].LSN {
		t.Errorf("node 3 leads, %d answered with %s: %v", state.Node, state.LSN, err)
	}
	if state, err := c.Reader(ReadConfig{Level: pinetree.ReadStale}).State(within(t)); err != nil || state.Node != 2 {
		t.Errorf("the nearest is 2, %d answered: %v", state.Node, err)
	}
	writer, err := c.OpenWriter(within(t), WriterConfig{})
	must(t, err)
	must(t, writer.Append(within(t), pinetree.Record{Prev: writer.Durable(), LSN: writer.Durable() + 10, Payload: []byte("a=b")}))
	must(t, writer.Flush(within(t)))
	must(t, writer.Close())
}

func TestARouteFileThatIsOfNoUseIsSaidToBe(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "db.route")
	must(t, w.dial(func(cfg *Config) { cfg.RouteFile = file }).Close())
	w.managers[0].stop()
	t.Cleanup(func() { w.managers[0].restart() })
	torn := filepath.Join(t.TempDir(), "torn")
	must(t, os.WriteFile(torn, []byte(`{"name":"db"`), 0o600))
	for name, test := range map[string]struct {
		change func(*Config)
		why    string
	}{
		"none":              {func(*Config) {}, "manager"},
		"missing":           {func(cfg *Config) { cfg.RouteFile = file + ".not" }, "no such file"},
		"torn":              {func(cfg *Config) { cfg.RouteFile = torn }, torn},
		"of another volume": {func(cfg *Config) { cfg.RouteFile, cfg.Volume = file, "other" }, `of volume "db", not of "other"`},
	} {
		if _, err := outage(w, test.change); err == nil || !strings.Contains(err.Error(), test.why) || !strings.Contains(err.Error(), "route of volume") {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.managers[0].restart()
	if _, err := outage(w, func(cfg *Config) { cfg.RouteFile, cfg.Volume = file, "other" }); err == nil || !strings.Contains(err.Error(), "knows no such volume") {
		t.Errorf("a manager's word counts more than the file: %v", err)
	}
	w.managers[0].stop()
}
