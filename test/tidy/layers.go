package tidy

import (
	"slices"
	"strconv"
	"strings"
)

// layers lists the project from top to bottom. A package imports only from
// rows below its own. A package in no row is a violation, so that every new
// folder is placed on purpose.
var layers = [][]string{
	{"test/..."},
	{"cmd/...", "adapter/ship/example"},
	{"adapter/ship/example/pagestore"},
	{"logservice", "clustermgr/etcdstore", "adapter/gateway", "adapter/pgwal", "adapter/resolver"},
	{"logservice/trimmer"},
	{"logservice/metaserver", "adapter/metaclient"},
	{"logservice/host"},
	{"logservice/pipeline"},
	{"logservice/group", "logservice/transport", "clustermgr", "adapter/ship", "engine/*", "raftlog/*"},
	{"raftlog/segment/frame", "clustermgr/reign"},
	{"clustermgr/chronicle", "clustermgr/ward"},
	{"clustermgr/accord", "clustermgr/grants", "clustermgr/members", "clustermgr/owner"},
	{"clustermgr/settings", "clustermgr/refusal"},
	{"engine/lsm/entries"},
	{"clustermgr/ledger", "clustermgr/orders", "clustermgr/policy", "clustermgr/upkeep", "engine/walengine/frames", "engine/lsm/pages", "engine/lsm/backlog", "engine/lsm/drops", "engine/lsm/touched", "engine/lsm/trash", "engine/badgerengine/database", "engine/pebbleengine/database"},
	{"engine/lsm/layout"},
	{"engine/lsm/sorted"},
	{"engine/walengine/files"},
	{"logservice/outcome"},
	{"logservice/bounds"},
	{"logservice/crew", "logservice/fanout", "logservice/lag", "logservice/manifest", "logservice/news", "logservice/pace", "logservice/packing", "logservice/progress", "logservice/quota", "logservice/rawnode", "logservice/replay", "logservice/space", "logservice/sharing"},
	{"adapter", "adapter/asking", "adapter/ferry", "adapter/outbox", "adapter/picker", "lease", "engine", "raftlog", "logservice/membership", "logservice/retention", "logservice/trimming"},
	{"proto/gatewaypb"},
	{"proto/wirepb"},
	{"proto/storepb"},
	{"meta"},
	{".", "disk/faultfs"},
	{"proto/internal/protogen", "adapter/pgwal/pgsample", "disk"},
}

// An arrow is an import that is allowed.
type arrow struct{ from, to string }

// sameRow are the arrows between packages of one row.
var sameRow = []arrow{
	{"cmd/...", "cmd/..."},
	{"test/...", "test/..."},
	{"clustermgr/upkeep", "clustermgr/policy"},
	{"engine/enginetest", "engine/memengine"}, // the suite compares with the memory backend
	{"engine/crashtest", "engine/enginetest"},
	{"engine/preparedtest", "engine/enginetest"},
	{"engine/spacetest", "engine/enginetest"},
	{"engine/spacetest", "engine/redotest"},
	{"engine/enginetest", "engine/metatest"},
	{"engine/enginetest", "engine/droptest"},
	{"engine/droptest", "engine/metatest"},
	{"engine/droptest", "engine/redotest"},
	{"engine/enginetest", "engine/redotest"},
	{"engine/metatest", "engine/memengine"},
	{"raftlog/raftlogtest", "raftlog/memlog"},
	{"raftlog/badgerlog", "raftlog/keylog"},
	{"engine/badgerengine", "engine/lsm"},
	{"engine/pebbleengine", "engine/lsm"},
	{"raftlog/pebblelog", "raftlog/keylog"},
}

// suites are the packages that only tests use: those that hold tests for
// others to run, and those that break things for them.
var suites = []string{"engine/crashtest", "engine/droptest", "engine/enginetest", "engine/metatest", "engine/preparedtest", "engine/redotest", "engine/spacetest", "raftlog/raftlogtest", "disk/faultfs"}

// importers narrows the layers: the packages of a pattern are imported only by
// those named. The first row that matches counts. Production code chooses a
// backend nowhere but in cmd; the manager and the storage node meet only on
// the wire.
var importers = []struct {
	of []string
	by []string
}{
	{of: []string{"raftlog/segment/frame"}, by: []string{"raftlog/segment"}},
	{of: []string{"raftlog/keylog"}, by: []string{"raftlog/badgerlog", "raftlog/pebblelog"}},
	{of: suites, by: append([]string{"test/..."}, suites...)},
	{of: []string{"disk"}, by: []string{"disk/faultfs", "raftlog/segment", "engine/walengine/...", "test/..."}},
	{of: []string{"engine/lsm"}, by: []string{"engine/badgerengine", "engine/pebbleengine"}},
	{of: []string{"engine/lsm/*"}, by: []string{"engine/lsm/...", "engine/badgerengine/...", "engine/pebbleengine/..."}},
	{of: []string{"engine/badgerengine/*"}, by: []string{"engine/badgerengine"}},
	{of: []string{"engine/pebbleengine/*"}, by: []string{"engine/pebbleengine"}},
	{of: []string{"engine/walengine/*"}, by: []string{"engine/walengine/...", "test/..."}},
	{of: []string{"engine/*", "raftlog/*"}, by: append([]string{"cmd/...", "test/..."}, suites...)},
	{of: []string{"adapter/pgwal/...", "adapter/resolver", "clustermgr/etcdstore", "logservice"}, by: []string{"cmd/...", "test/..."}},
	{of: []string{"adapter/ship"}, by: []string{"adapter/gateway", "adapter/metaclient", "adapter/resolver", "adapter/ship/example/...", "cmd/...", "test/..."}},
	{of: []string{"adapter/ship/example/pagestore"}, by: []string{"adapter/ship/example"}},
	{of: []string{"adapter/gateway"}, by: []string{"cmd/...", "test/..."}},
	{of: []string{"adapter/metaclient"}, by: []string{"adapter/gateway", "cmd/...", "test/..."}},
	{of: []string{"adapter/asking", "adapter/ferry", "adapter/outbox"}, by: []string{"adapter/ship"}},
	{of: []string{"adapter/picker"}, by: []string{"adapter/resolver", "adapter/ship"}},
	{of: []string{"clustermgr"}, by: []string{"clustermgr/etcdstore", "cmd/...", "test/..."}},
	{of: []string{"clustermgr/ledger"}, by: []string{"clustermgr/...", "cmd/...", "test/..."}},
	{of: []string{"clustermgr/accord", "clustermgr/chronicle", "clustermgr/grants", "clustermgr/members", "clustermgr/orders", "clustermgr/owner", "clustermgr/policy", "clustermgr/refusal", "clustermgr/reign", "clustermgr/settings", "clustermgr/upkeep", "clustermgr/ward"}, by: []string{"clustermgr/...", "test/..."}},
	{of: []string{"logservice/bounds", "logservice/crew", "logservice/fanout", "logservice/lag", "logservice/manifest", "logservice/membership", "logservice/news", "logservice/outcome", "logservice/pace", "logservice/packing", "logservice/pipeline", "logservice/progress", "logservice/quota", "logservice/rawnode", "logservice/replay", "logservice/retention", "logservice/space", "logservice/trimming", "logservice/sharing"}, by: []string{"logservice/...", "cmd/...", "test/..."}},
	{of: []string{"logservice/group"}, by: []string{"logservice", "logservice/host", "logservice/metaserver", "logservice/pipeline", "logservice/trimmer", "cmd/...", "test/..."}},
	{of: []string{"logservice/*"}, by: []string{"logservice", "logservice/host", "logservice/metaserver", "logservice/trimmer", "cmd/...", "test/..."}},
	{of: []string{"proto/gatewaypb"}, by: []string{"adapter/gateway"}},
	{of: []string{"proto/wirepb"}, by: []string{
		"logservice/...", "clustermgr", "clustermgr/chronicle", "clustermgr/grants", "clustermgr/members", "clustermgr/orders", "clustermgr/policy", "clustermgr/reign", "clustermgr/ward", "proto/gatewaypb", "adapter/asking", "adapter/gateway", "adapter/metaclient", "adapter/resolver", "adapter/ship", "adapter/ship/example", "cmd/...", "test/...",
	}},
}

// checkLayers holds the project's own imports to the tables above.
//
// A _test.go file may also import what stands beside its own package or in a
// folder under it, backends and suites included, and packages of test/. It may
// not import what is above: such a test belongs in test/.
func checkLayers(t *tree) []violation {
	var found []violation
	for _, p := range t.packages {
		if rowOf(p.folder) < 0 {
			found = append(found, p.files[0].violation(p.files[0].syntax.Name,
				"package %s is in no layer; add it to the list of layers in test/tidy", p.folder))
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				to, ours := ownFolder(spec.Path.Value)
				if !ours {
					continue
				}
				if why := refuseImport(p.folder, to, f.test); why != "" {
					found = append(found, f.violation(spec, "%s imports %s: %s", p.folder, to, why))
				}
			}
		}
	}
	return found
}

func refuseImport(from, to string, test bool) string {
	row, below := rowOf(from), rowOf(to)
	if below < 0 {
		return "it is in no layer"
	}
	if test {
		if below >= row || strings.HasPrefix(to, from+"/") || matches("test/...", to) {
			return ""
		}
		return "it is above; a test of both belongs in test/"
	}
	if below < row {
		return "imports only point down the list of layers"
	}
	if below == row && !slices.ContainsFunc(sameRow, func(a arrow) bool { return matches(a.from, from) && matches(a.to, to) }) {
		return "packages of one row do not import each other"
	}
	for _, rule := range importers {
		if matchesAny(rule.of, to) {
			if !matchesAny(rule.by, from) {
				return "it is imported only by " + strings.Join(rule.by, ", ")
			}
			return ""
		}
	}
	return ""
}

// rowOf is the index of a folder's layer, or -1.
func rowOf(folder string) int {
	return slices.IndexFunc(layers, func(row []string) bool { return matchesAny(row, folder) })
}

// ownFolder is the folder of an import of this project.
func ownFolder(quoted string) (string, bool) {
	imported := unquote(quoted)
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func unquote(quoted string) string {
	imported, err := strconv.Unquote(quoted)
	if err != nil {
		return quoted
	}
	return imported
}
