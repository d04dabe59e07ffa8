package tidy

import "strings"

// A fence says which packages may import a module, or a part of one.
type fence struct {
	module string
	by     []string
}

// everywhere is for modules that are as plain as the standard library.
var everywhere = []string{
	"meta", "proto/...", "adapter/...", "lease", "engine/...", "raftlog/...", "logservice/...", "clustermgr/...", "cmd/...", "test/...",
}

var grpcUsers = []string{
	"proto/wirepb", "logservice", "logservice/transport", "clustermgr", "clustermgr/chronicle", "clustermgr/orders", "clustermgr/refusal", "clustermgr/reign", "clustermgr/settings", "proto/gatewaypb", "adapter/asking", "adapter/gateway", "adapter/metaclient", "adapter/resolver", "adapter/ship", "adapter/ship/example", "cmd/...", "test/...",
}

// fences lists every third-party module that production code uses. The longest
// module that matches counts. What is not here may not be imported, so that a
// new dependency is a decision.
var fences = []fence{
	{"google.golang.org/grpc", grpcUsers},
	{"github.com/grpc-ecosystem", grpcUsers},
	{"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc", grpcUsers},
	{"google.golang.org/genproto/googleapis/rpc", []string{"adapter/gateway", "proto/wirepb"}},
	{"google.golang.org/protobuf", []string{
		"proto/...", "engine", "engine/*", "raftlog/...", "logservice/...", "clustermgr/...", "adapter/gateway", "adapter/ship", "adapter/ship/example/pagestore", "cmd/...", "test/...",
	}},
	{"github.com/bufbuild/protocompile", []string{"proto/internal/protogen"}},
	{"go.etcd.io/raft", []string{
		"raftlog/...", "logservice/group", "logservice/host", "logservice/lag", "logservice/manifest", "logservice/membership", "logservice/news", "logservice/packing", "logservice/pipeline", "logservice/rawnode", "logservice/replay", "logservice/retention", "logservice/transport", "proto/...", "cmd/internal/benchlog", "cmd/internal/benchreplay", "test/...",
	}},
	{"go.etcd.io/etcd", []string{"clustermgr/etcdstore", "cmd/...", "test/..."}},
	{"github.com/cockroachdb/pebble", []string{"raftlog/pebblelog", "engine/pebbleengine/..."}},
	{"github.com/dgraph-io/badger", []string{"raftlog/badgerlog", "engine/badgerengine/..."}},
	{"github.com/prometheus/client_golang", []string{"logservice/...", "clustermgr/...", "adapter/ship", "cmd/...", "test/..."}},
	{"github.com/spf13", []string{"cmd/..."}},
	{"github.com/jedib0t/go-pretty", []string{"cmd/..."}},
	{"github.com/HdrHistogram/hdrhistogram-go", []string{"cmd/internal/testbed", "test/..."}},
	{"go.yaml.in/yaml", []string{"cmd/..."}},
	{"go.uber.org/zap", []string{"clustermgr/etcdstore", "cmd/..."}}, // etcd's logger
	{"github.com/cenkalti/backoff", []string{"logservice/...", "clustermgr/...", "adapter/ship", "cmd/...", "test/..."}},
	{"github.com/klauspost/compress", []string{"proto/storepb", "raftlog/*", "engine/*", "logservice/...", "adapter/ship", "adapter/pgwal/pgsample", "cmd/...", "test/..."}},
	{"golang.org/x/sync", []string{"raftlog/*", "engine/*", "logservice/...", "clustermgr/...", "adapter/ship", "cmd/...", "test/..."}},
	{"golang.org/x/time", []string{"logservice/...", "clustermgr/...", "adapter/ship", "cmd/...", "test/..."}},
	{"golang.org/x/sys", []string{"lease", "raftlog/*", "engine/*", "engine/badgerengine/database", "disk", "logservice", "logservice/transport", "cmd/...", "test/..."}},
	{"golang.org/x/term", []string{"cmd/..."}},
}

// testModules may be imported by _test.go files, by the suites and by test/,
// and by nothing that runs in production.
var testModules = []fence{
	{"github.com/google/go-cmp", everywhere},
	{"pgregory.net/rapid", append([]string{"."}, everywhere...)},
	{"github.com/cockroachdb/datadriven", everywhere},
	{"go.uber.org/goleak", everywhere},
	{"google.golang.org/protobuf/testing", everywhere},
	{"github.com/anishathalye/porcupine", []string{"test/...", "logservice/..."}},
	{"testing", append([]string{".", "disk"}, everywhere...)}, // of the standard library: never in a binary
}

// checkFences holds imports of others' modules to the tables above. A _test.go
// file is bound by the fences of its package; beyond them it may use the test
// modules.
func checkFences(t *tree) []violation {
	var found []violation
	for _, p := range t.packages {
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				imported := unquote(spec.Path.Value)
				if _, ours := ownFolder(spec.Path.Value); ours {
					continue
				}
				if why := refuseModule(p.folder, imported, f.test); why != "" {
					found = append(found, f.violation(spec, "%s imports %s: %s", p.folder, imported, why))
				}
			}
		}
	}
	return found
}

func refuseModule(folder, imported string, test bool) string {
	if helper := find(testModules, imported); helper != nil {
		if !test && !matchesAny(suites, folder) && !matches("test/...", folder) {
			return "it is for tests only"
		}
		return refusal(helper, folder)
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return "" // standard library
	}
	use := find(fences, imported)
	if use == nil {
		return "the module is in no fence; add it to test/tidy with those who may use it, and to DECISIONS.md with the reason"
	}
	return refusal(use, folder)
}

func refusal(f *fence, folder string) string {
	if matchesAny(f.by, folder) {
		return ""
	}
	return "only " + strings.Join(f.by, ", ") + " may"
}

// find returns the longest module of the table that the import belongs to.
func find(table []fence, imported string) *fence {
	var best *fence
	for i, f := range table {
		if (imported == f.module || strings.HasPrefix(imported, f.module+"/")) && (best == nil || len(f.module) > len(best.module)) {
			best = &table[i]
		}
	}
	return best
}
