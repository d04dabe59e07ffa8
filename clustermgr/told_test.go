package clustermgr

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
)

// untold lists the records of nodes, groups and volumes that a write changes and
// no event in it tells of. A manager that is killed after such a write has decided
// what nobody will ever hear of.
func untold(changes []ledger.Change) (keys []string) {
	var told []ledger.Event
	for _, c := range changes {
		var e ledger.Event
		if strings.HasPrefix(c.Key, "events/") && c.Value != nil && json.Unmarshal(c.Value, &e) == nil {
			told = append(told, e)
		}
	}
	for _, c := range changes {
		kind, number, _ := strings.Cut(c.Key, "/")
		var id uint64
		fmt.Sscanf(number, "%d", &id)
		tells := map[string]func(ledger.Event) bool{
			"nodes":   func(e ledger.Event) bool { return uint64(e.Node) == id },
			"groups":  func(e ledger.Event) bool { return uint64(e.Group) == id },
			"volumes": func(e ledger.Event) bool { return strings.Contains(e.Outcome, fmt.Sprintf("volume %d,", id)) },
		}[kind]
		if tells != nil && !slices.ContainsFunc(told, tells) {
			keys = append(keys, c.Key)
		}
	}
	return keys
}
