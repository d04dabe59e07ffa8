package resolver

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/pinetree-db/pinetree"
)

// target is what a name of the scheme says.
type target struct {
	managers []string
	volume   string
	zone     string
	level    pinetree.ReadLevel
}

// levels are the values of the option read.
var levels = map[string]pinetree.ReadLevel{
	"": pinetree.ReadDefault, "default": pinetree.ReadDefault, "stale": pinetree.ReadStale, "consistent": pinetree.ReadConsistent,
}

// parse reads pinetree://MANAGER[,MANAGER…]/VOLUME[?manager=A&read=LEVEL&zone=Z].
func parse(u url.URL) (target, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return target{}, fmt.Errorf("%w: the options of %s: %w", pinetree.ErrBadBatch, u.String(), err)
	}
	t := target{volume: strings.TrimPrefix(u.Path, "/"), zone: query.Get("zone")}
	for name := range query {
		if name != "manager" && name != "read" && name != "zone" {
			return t, fmt.Errorf("%w: option %q of %s; known are manager, read and zone", pinetree.ErrBadBatch, name, u.String())
		}
	}
	for _, list := range append(query["manager"], u.Host) {
		for addr := range strings.SplitSeq(list, ",") {
			if addr != "" {
				t.managers = append(t.managers, addr)
			}
		}
	}
	level, known := levels[query.Get("read")]
	switch {
	case !known:
		return t, fmt.Errorf("%w: read=%s; known are default, stale and consistent", pinetree.ErrBadBatch, query.Get("read"))
	case len(t.managers) == 0 || t.volume == "":
		return t, fmt.Errorf("%w: %q names no cluster manager or no volume; the form is %s://MANAGER[,MANAGER]/VOLUME", pinetree.ErrBadBatch, u.String(), Scheme)
	}
	t.level = level
	return t, nil
}

// levelKey is the key of a call's level in its context.
type levelKey struct{}

// WithLevel makes the calls under a context go where reads of a level may be
// answered, instead of where the connection's name says. It does not change the
// requests, which must ask for the same level.
func WithLevel(ctx context.Context, level pinetree.ReadLevel) context.Context {
	return context.WithValue(ctx, levelKey{}, level)
}
