package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/badgerengine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/engine/pebbleengine"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/logservice/transport"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/badgerlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
	"github.com/pinetree-db/pinetree/raftlog/pebblelog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// The backends that a node may be told to use, by the names of the flags. Those
// in memory lose everything with the process, so they make no directory's node
// come back: they are for trying things out.
var (
	raftLogs = map[string]func(dir string, log *slog.Logger) (raftlog.Store, error){
		"segment": func(dir string, log *slog.Logger) (raftlog.Store, error) {
			return segment.Open(dir, segment.Options{Logger: log})
		},
		"badger": func(dir string, log *slog.Logger) (raftlog.Store, error) {
			return badgerlog.Open(dir, badgerlog.Options{Logger: log})
		},
		"pebble": func(dir string, log *slog.Logger) (raftlog.Store, error) {
			return pebblelog.Open(dir, pebblelog.Options{Logger: log})
		},
		"memory": func(string, *slog.Logger) (raftlog.Store, error) { return memlog.New(), nil },
	}
	engines = map[string]func(dir string, log *slog.Logger) (engine.Store, error){
		"badger": func(dir string, log *slog.Logger) (engine.Store, error) {
			return badgerengine.Open(badgerengine.Options{Dir: dir, Logger: log})
		},
		"pebble": func(dir string, log *slog.Logger) (engine.Store, error) {
			return pebbleengine.Open(pebbleengine.Options{Dir: dir, Logger: log})
		},
		"wal": func(dir string, log *slog.Logger) (engine.Store, error) {
			return walengine.Open(dir, walengine.Options{Logger: log})
		},
		"memory": func(string, *slog.Logger) (engine.Store, error) {
			return memengine.New(memengine.Options{FlushOnApply: true}), nil
		},
	}
	transports = map[string]transport.Mode{"stream": transport.ModeStream, "unary": transport.ModeUnary}
)

// engineFiles are the names of files by which an engine's directory is known.
var engineFiles = map[string]string{"badger": "MANIFEST", "pebble": "marker.manifest.*", "wal": "*.group"}

// engineIn tells whose files are in a directory; nothing when there are none.
func engineIn(dir string) string {
	files, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for name, pattern := range engineFiles {
		for _, file := range files {
			if match, err := filepath.Match(pattern, file.Name()); match && err == nil {
				return name
			}
		}
	}
	return ""
}

// choose looks a flag's value up in a map of what there is.
func choose[T any](flag, name string, from map[string]T) (T, error) {
	chosen, there := from[name]
	if !there {
		return chosen, cli.Usagef("--%s %q: there are %s", flag, name, names(from))
	}
	return chosen, nil
}

func names[T any](of map[string]T) string { return strings.Join(sortedKeys(of), ", ") }

func sortedKeys[K cmp.Ordered, V any](of map[K]V) []K { return slices.Sorted(maps.Keys(of)) }

// stores are a node's open backends.
type stores struct {
	log     raftlog.Store
	engines engine.Store
}

// storage says which backends to open.
type storage struct{ raftLog, engine string }

func (s storage) check() error {
	if _, err := choose("raftlog", s.raftLog, raftLogs); err != nil {
		return err
	}
	_, err := choose("engine", s.engine, engines)
	return err
}

// open opens the backends of a node's directory.
func (s storage) open(dir nodeDir, log *slog.Logger) (stores, error) {
	var opened stores
	if found := engineIn(dir.engine()); found != "" && found != s.engine {
		return opened, cli.Usagef("--engine %s: the files in %s are those of %s; go on with --engine %s, or begin with an empty directory, which makes it a new node", s.engine, dir.engine(), found, found)
	}
	var err error
	if opened.log, err = raftLogs[s.raftLog](dir.raftLog(), log); err != nil {
		return opened, fmt.Errorf("open the raft log: %w", err)
	}
	if opened.engines, err = engines[s.engine](dir.engine(), log); err != nil {
		return opened, fmt.Errorf("open the engine: %w", joined(err, opened.log.Close()))
	}
	return opened, nil
}

// close closes the backends, in the order in which one depends on the other.
func (s stores) close() error { return joined(s.engines.Close(), s.log.Close()) }
