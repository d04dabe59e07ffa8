package ship

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// remembered is what Config.RouteFile holds, as JSON.
type remembered struct {
	Name  string `json:"name"`
	Route Route  `json:"route"`
}

// remember stores a route that differs from the one before. A crash leaves the
// old file or the new one; it is not synced, as a lost one costs only an answer
// while no manager gives one.
func (c *Client) remember(before, fresh Route) {
	if c.cfg.RouteFile == "" || before.Leader == fresh.Leader && slices.Equal(before.Replicas, fresh.Replicas) {
		return
	}
	fresh.States = nil // of a moment
	data, err := json.Marshal(remembered{Name: c.cfg.Volume, Route: fresh})
	if err == nil {
		err = replaceFile(c.cfg.RouteFile, data)
	}
	if err != nil {
		c.cfg.Logger.Warn("the route could not be stored; a start without a manager would not find it", "volume", c.cfg.Volume, "error", err)
	}
}

func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// recall goes by the stored route because no manager answers, which is why.
func (c *Client) recall(why error) error {
	if c.cfg.RouteFile == "" {
		return why
	}
	data, err := os.ReadFile(c.cfg.RouteFile)
	if err != nil {
		return alsoFailed(why, err)
	}
	var stored remembered
	if err := json.Unmarshal(data, &stored); err != nil {
		return alsoFailed(why, fmt.Errorf("%s: %w", c.cfg.RouteFile, err))
	}
	if stored.Name != c.cfg.Volume || stored.Route.Volume == 0 || len(stored.Route.Replicas) == 0 {
		return alsoFailed(why, fmt.Errorf("%s holds a route of volume %q, not of %q", c.cfg.RouteFile, stored.Name, c.cfg.Volume))
	}
	c.cfg.Logger.Warn("no manager answers, going by the stored route", "volume", c.cfg.Volume, "file", c.cfg.RouteFile, "error", why)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopt(stored.Route)
	return nil
}
