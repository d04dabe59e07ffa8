package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// skewed is the built program with a lease clock whose rate can be set. It is
// built when it is first wanted.
var skewed = sync.OnceValues(func() (string, error) {
	clock, err := filepath.Abs("testdata/skewed/boottime_linux.go")
	if err != nil {
		return "", err
	}
	replaced, err := filepath.Abs("../../lease/boottime_linux.go")
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {replaced: clock}})
	if err != nil {
		return "", err
	}
	out := binary + "-skewed"
	if err := os.WriteFile(out+".json", overlay, 0o600); err != nil {
		return "", err
	}
	return out, build(out, "-overlay", out+".json")
})

// rate lets the lease clock of a process run at the rate that the cluster has for
// it: the manager is the first one, nodes follow by their ids.
func (c *cluster) rate(p *process, at int) {
	c.t.Helper()
	if at >= len(c.rates) {
		return
	}
	program, err := skewed()
	if err != nil {
		c.t.Fatal(err)
	}
	p.binary, p.env = program, []string{fmt.Sprintf("PINETREE_TEST_CLOCK_RATE=%g", c.rates[at])}
}
