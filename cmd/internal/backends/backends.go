// Package backends is the map of what a node may keep its raft log and its
// replayed state in, and where in its directory both are. Nothing but commands
// chooses among them.
package backends

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/voidengine"
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
	// RaftLogs open a raft log store in a directory.
	RaftLogs = map[string]func(dir string, log *slog.Logger) (raftlog.Store, error){
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
	// Engines open a storage engine in a directory.
	Engines = map[string]func(dir string, log *slog.Logger) (engine.Store, error){
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
	// measured are engines for measuring alone; see Storage.Measuring. They are
	// in no list of what there is.
	measured = map[string]func(dir string, log *slog.Logger) (engine.Store, error){
		"none": func(string, *slog.Logger) (engine.Store, error) { return voidengine.New(), nil },
	}
	// Transports are how raft messages may travel.
	Transports = map[string]transport.Mode{"tcp": transport.ModeTCP, "stream": transport.ModeStream, "unary": transport.ModeUnary}
)

// engineFiles are the names of files by which an engine's directory is known.
var engineFiles = map[string]string{"badger": "MANIFEST", "pebble": "marker.manifest.*", "wal": "*.group"}

// EngineIn tells whose files are in a directory; nothing when there are none.
func EngineIn(dir string) string {
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

// Dir is a node's directory and what is where in it.
type Dir string

// RaftLog is the folder of the raft log.
func (d Dir) RaftLog() string { return filepath.Join(string(d), "raftlog") }

// Engine is the folder of the storage engine.
func (d Dir) Engine() string { return filepath.Join(string(d), "engine") }

// KeepsNothing tells whether an engine is one of those that lose what they are
// sent, to measure what the others cost.
func KeepsNothing(engine string) bool { return measured[engine] != nil }

// Storage says which backends to open.
type Storage struct {
	RaftLog, Engine string
	// Measuring lets Engine be one that keeps nothing. Nothing but a benchmark,
	// which starts its own nodes, sets it.
	Measuring bool
}

// Check is a usage error that lists what there is, if it is none of that.
func (s Storage) Check() error {
	if _, err := cli.Choose("raftlog", s.RaftLog, RaftLogs); err != nil {
		return err
	}
	_, err := s.engine()
	return err
}

// engine is what opens the engine.
func (s Storage) engine() (func(dir string, log *slog.Logger) (engine.Store, error), error) {
	if !KeepsNothing(s.Engine) {
		return cli.Choose("engine", s.Engine, Engines)
	}
	if !s.Measuring {
		return nil, cli.Usagef("--engine %s loses everything that it is sent; it is for the nodes that `pinetree bench ship` starts; there are %s", s.Engine, cli.Names(Engines))
	}
	return measured[s.Engine], nil
}

// Stores are a node's open backends.
type Stores struct {
	Log     raftlog.Store
	Engines engine.Store
}

// Open opens the backends of a node's directory, those that Check has found
// good. A directory with the files of another engine is a usage error.
func (s Storage) Open(dir Dir, log *slog.Logger) (Stores, error) {
	var opened Stores
	if found := EngineIn(dir.Engine()); found != "" && found != s.Engine {
		return opened, cli.Usagef("--engine %s: the files in %s are those of %s; go on with --engine %s, or begin with an empty directory, which makes it a new node", s.Engine, dir.Engine(), found, found)
	}
	open, err := s.engine()
	if err != nil {
		return opened, err
	}
	if _, err := os.Stat(dir.RaftLog()); err == nil && KeepsNothing(s.Engine) {
		return opened, cli.Usagef("--engine %s: %s is there, and what it once led to cannot be kept; begin with an empty directory", s.Engine, dir.RaftLog())
	}
	if opened.Log, err = RaftLogs[s.RaftLog](dir.RaftLog(), log); err != nil {
		return opened, fmt.Errorf("open the raft log: %w", err)
	}
	if opened.Engines, err = open(dir.Engine(), log); err != nil {
		return opened, errors.Join(fmt.Errorf("open the engine: %w; when its files are damaged, `pinetree rebuild` makes them anew from the other replicas", err), opened.Log.Close())
	}
	return opened, nil
}

// Close closes the backends, in the order in which one depends on the other.
func (s Stores) Close() error { return errors.Join(s.Engines.Close(), s.Log.Close()) }
