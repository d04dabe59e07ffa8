// Package etcdpeer runs one server of etcd in this process, and reaches a
// cluster of them through etcd's own client. Each record is the value of a key
// of its own.
package etcdpeer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	startTimeout = 30 * time.Second
	// requestBytes lets transactions of many large records through, quotaBytes
	// lets the database grow for as long as a run lasts.
	requestBytes = 16 << 20
	quotaBytes   = 8 << 30
	// keyPrefix begins each record's key, keyEnd follows on all of them.
	keyPrefix, keyEnd = "r", "s"
)

// Server is one member of the cluster.
type Server struct{ etcd *embed.Etcd }

// Start starts a server and returns when the cluster has a leader.
func Start(cfg replica.Config) (replica.Replica, error) {
	c := embed.NewConfig()
	c.Name, c.Dir = cfg.Name(), cfg.Path("etcd")
	c.LogLevel, c.LogOutputs = "error", []string{os.Stderr.Name()}
	c.MaxRequestBytes, c.QuotaBackendBytes = requestBytes, quotaBytes
	client, peer := url.URL{Scheme: "http", Host: cfg.Client()}, url.URL{Scheme: "http", Host: cfg.Peer()}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	var members []string
	for i, addr := range cfg.Peers {
		members = append(members, replica.NameOf(replica.ID(i+1))+"=http://"+addr)
	}
	c.InitialCluster = strings.Join(members, ",")
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-etcd.Server.ReadyNotify():
		return &Server{etcd}, nil
	case err = <-etcd.Err():
	case <-timeout.C:
		err = fmt.Errorf("the cluster did not come up within %v", startTimeout)
	}
	etcd.Close()
	return nil, err
}

// Status implements replica.Replica. It counts the keys of this member.
func (s *Server) Status() (replica.Status, error) {
	server := s.etcd.Server
	keys, err := server.KV().Range(context.Background(), []byte(keyPrefix), []byte(keyEnd), mvcc.RangeOptions{CountOnly: true})
	if err != nil {
		return replica.Status{}, fmt.Errorf("count the keys: %w", err)
	}
	return replica.Status{Ready: server.Leader() == server.MemberID(), Records: uint64(keys.Count)}, nil
}

// Close implements replica.Replica.
func (s *Server) Close() error {
	s.etcd.Close()
	var errs []error
	for err := range s.etcd.Err() {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
