package cli

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree"
)

// ReadLevels are the values of --read.
var ReadLevels = map[string]pinetree.ReadLevel{
	"stale": pinetree.ReadStale, "default": pinetree.ReadDefault, "consistent": pinetree.ReadConsistent,
}

// Choose looks a flag's value up in a map of what there is. What is not there is
// a usage error that lists the rest.
func Choose[T any](flag, name string, from map[string]T) (T, error) {
	chosen, there := from[name]
	if !there {
		return chosen, Usagef("--%s %q: there are %s", flag, name, Names(from))
	}
	return chosen, nil
}

// Names are the keys of a map, in order, for a flag's description.
func Names[T any](of map[string]T) string { return strings.Join(SortedKeys(of), ", ") }

// SortedKeys are the keys of a map in order.
func SortedKeys[K cmp.Ordered, V any](of map[K]V) []K { return slices.Sorted(maps.Keys(of)) }
