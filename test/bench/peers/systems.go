package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree/test/bench/peers/dragon"
	"github.com/pinetree-db/pinetree/test/bench/peers/etcdpeer"
	"github.com/pinetree-db/pinetree/test/bench/peers/floor"
	"github.com/pinetree-db/pinetree/test/bench/peers/floormap"
	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/hashi"
	"github.com/pinetree-db/pinetree/test/bench/peers/jetstream"
	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
	"github.com/pinetree-db/pinetree/test/bench/peers/report"
)

// many is how many records a library is given at once at most.
const many = 128

// A target is where a load finds a system.
type target struct {
	clients []string // of all servers
	ready   string   // that of the server that wants to be talked to
}

// A system is one of those that are compared, Pinetree excepted.
type system struct {
	front front.Kind // how a library is reached; empty when it has its own client
	batch int        // records in a proposal or a transaction
	start func(replica.Config) (replica.Replica, error)
	// dial and read reach the system for loads that write and for those that
	// read; nil when there are none.
	dial func(system, target, load.Sink) (load.Client, error)
	read func(target) (load.Reader, error)
}

var systems = map[string]system{
	"floor-tcp":              {front.TCP, 0, floor.Start, dialFront, nil},
	"floor-grpc":             {front.GRPC, 0, floor.Start, dialFront, nil},
	"floor-map":              {"", 0, floormap.Start, nil, readFloor},
	"hashicorp-tcp":          {front.TCP, many, hashi.Start, dialFront, nil},
	"hashicorp-grpc":         {front.GRPC, many, hashi.Start, dialFront, nil},
	"dragonboat-tcp":         {front.TCP, many, dragon.Start, dialFront, nil},
	"dragonboat-grpc":        {front.GRPC, many, dragon.Start, dialFront, nil},
	"dragonboat-single-tcp":  {front.TCP, 1, dragon.Start, dialFront, nil},
	"dragonboat-single-grpc": {front.GRPC, 1, dragon.Start, dialFront, nil},
	"etcd":                   {"", many, etcdpeer.Start, dialEtcd, readEtcd},
	"etcd-put":               {"", 1, etcdpeer.Start, dialEtcd, nil},
	"nats":                   {"", 1, jetstream.Start, dialNATS, nil},
	"nats-batch":             {"", many, jetstream.Start, dialNATS, nil},
}

// pageless are Pinetrees with an engine that keeps no page to be read.
var pageless = []string{"pinetree:wal", "pinetree:none"}

// suits tells whether a system can be put under a load.
func suits(name string, shape load.Shape) bool {
	if report.IsPinetree(name) {
		return !shape.Reads || !slices.Contains(pageless, name)
	}
	s := systems[name]
	if shape.Reads {
		return s.read != nil
	}
	return s.dial != nil && shape.Groups <= 1
}

// defaultSystems are compared when nobody says otherwise.
var defaultSystems = []string{
	"pinetree:wal", "pinetree:badger", "etcd", "nats", "nats-batch", "hashicorp-grpc", "dragonboat-grpc", "hashicorp-tcp", "dragonboat-tcp", "floor-grpc", "floor-tcp", "floor-map",
}

func dialFront(s system, t target, sink load.Sink) (load.Client, error) {
	return front.Dial(s.front, t.ready, sink)
}

func dialEtcd(s system, t target, sink load.Sink) (load.Client, error) {
	return etcdpeer.Dial(t.ready, etcdpeer.Batch(s.batch), sink)
}

func dialNATS(s system, t target, sink load.Sink) (load.Client, error) {
	return jetstream.Dial(t.clients, jetstream.Batch(s.batch), sink)
}

func readEtcd(t target) (load.Reader, error) { return etcdpeer.DialReader(t.ready) }

func readFloor(t target) (load.Reader, error) { return floormap.DialReader(t.clients) }

func systemOf(name string) (system, error) {
	s, ok := systems[name]
	if !ok {
		return s, fmt.Errorf("there is no system %q, only %s and pinetree", name, strings.Join(slices.Sorted(maps.Keys(systems)), ", "))
	}
	return s, nil
}
