// Package jetstream runs one NATS server with JetStream in this process, and
// reaches a cluster of them through its own client. Records are messages of one
// stream with three replicas on disk; the servers sync always.
package jetstream

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	streamName, subject = "log", "log"
	startTimeout        = 20 * time.Second
	// bufferedMessages and bufferedBytes let the smallest records of a whole
	// window wait in the server; beyond, it would refuse them.
	bufferedMessages, bufferedBytes = 1 << 18, 256 << 20
)

// Server is one server of the cluster.
type Server struct{ nats *server.Server }

// Start starts a server.
func Start(cfg replica.Config) (replica.Replica, error) {
	opts := &server.Options{
		ServerName: cfg.Name(), NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: cfg.Path("store"), SyncAlways: true,
		StreamMaxBufferedMsgs: bufferedMessages, StreamMaxBufferedSize: bufferedBytes,
		Cluster: server.ClusterOpts{Name: "peers"},
	}
	var err error
	if opts.Host, opts.Port, err = split(cfg.Client()); err != nil {
		return nil, err
	}
	if opts.Cluster.Host, opts.Cluster.Port, err = split(cfg.Peer()); err != nil {
		return nil, err
	}
	for _, addr := range cfg.Peers {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: addr})
	}
	nats, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{nats}
	nats.Start()
	if !nats.ReadyForConnections(startTimeout) {
		_ = s.Close()
		return nil, fmt.Errorf("the server took no connections within %v", startTimeout)
	}
	return s, nil
}

func split(addr string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(digits)
	return host, port, err
}

// Status implements replica.Replica. It counts the messages of this server. A
// cluster is ready when it knows all its servers.
func (s *Server) Status() (replica.Status, error) {
	status := replica.Status{Ready: s.nats.JetStreamIsLeader() && len(s.nats.JetStreamClusterPeers()) == replica.Count}
	info, err := s.nats.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return status, fmt.Errorf("count the messages: %w", err)
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			status.Records += stream.State.Msgs
		}
	}
	return status, nil
}

// Close implements replica.Replica.
func (s *Server) Close() error {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	return nil
}
