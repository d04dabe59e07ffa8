package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Files are those of TLS, in PEM form; none is plaintext. Renewed certificates are
// used without a restart, renewed authorities after one.
type Files struct {
	// Cert and Key are this process's own.
	Cert, Key string
	// CA are the authorities that are believed.
	CA string
	// ServerName is what certificates of servers must name; the host of the
	// address when empty.
	ServerName string
}

func (f Files) any() bool { return f != Files{} }

func (f Files) info() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA, ServerName: f.ServerName,
		ClientCertAuth: f.CA != "", SkipClientSANVerify: true, // the authority's word is enough
	}
}

// protect sets a client up for TLS, if there are files.
func (f Files) protect(cfg *clientv3.Config) error {
	if !f.any() {
		return nil
	}
	info := f.info()
	made, err := info.ClientConfig()
	if err != nil {
		return fmt.Errorf("TLS to etcd: %w", err)
	}
	cfg.TLS = made
	return nil
}

// Member is one member of the etcd cluster that managers run among themselves.
type Member struct {
	// Dir has the member's files.
	Dir string
	// Name is this member's, and Peers are the addresses, HOST:PORT, at which all
	// members reach each other, by name. The next port is where a member serves
	// clients. All members are started with the same ones, for ever. Without
	// Peers it is the only member, reached within this machine.
	Name  string
	Peers map[string]string
	// Files protect what members and clients say to each other, unless there is
	// only this one.
	Files Files
	// Rejoin takes a member whose directory was lost out of the cluster, and in
	// again as an empty one. A majority of the others must be there. It does
	// nothing when the directory is in order.
	Rejoin bool
}

// Check refuses what makes no sense.
func (m Member) Check() error {
	if len(m.Peers) == 0 {
		return nil
	}
	if m.Peers[m.Name] == "" {
		return fmt.Errorf("this member's name, %q, is none of the peers %s", m.Name, m.peers())
	}
	if len(m.Peers)%2 == 0 {
		return fmt.Errorf("%d members tolerate no more failures than %d: have 1, 3 or 5", len(m.Peers), len(m.Peers)-1)
	}
	for name, address := range m.Peers {
		if _, err := clientAddress(address); err != nil {
			return fmt.Errorf("peer %s: %w", name, err)
		}
	}
	if m.Files.any() && (m.Files.Cert == "" || m.Files.CA == "") {
		return errors.New("members of etcd that talk over TLS need a certificate, its key and the authority")
	}
	return nil
}

// peers are written as etcd and the command line take them.
func (m Member) peers() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m.Peers)) {
		list = append(list, name+"="+m.Peers[name])
	}
	return strings.Join(list, ",")
}

// clientAddress is where the member with a peer address serves clients.
func clientAddress(peer string) (string, error) {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(port)
	if err != nil || host == "" || n < 1 || n > 65534 {
		return "", fmt.Errorf("%q is not HOST:PORT with a port below 65535", peer)
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1)), nil
}

// endpoints are the client addresses of all members, this one's first.
func (m Member) endpoints() []string {
	own, _ := clientAddress(m.Peers[m.Name]) // Check has seen all of them
	list := []string{own}
	for _, name := range slices.Sorted(maps.Keys(m.Peers)) {
		if at, _ := clientAddress(m.Peers[name]); name != m.Name {
			list = append(list, at)
		}
	}
	return list
}

func (m Member) url(address string) url.URL {
	if m.Files.any() {
		return url.URL{Scheme: "https", Host: address}
	}
	return url.URL{Scheme: "http", Host: address}
}

// listen is where an address is listened on: etcd wants IP addresses.
func (m Member) listen(address string) url.URL {
	host, port, _ := net.SplitHostPort(address) // Check has seen it
	if net.ParseIP(host) == nil && host != "localhost" {
		address = net.JoinHostPort("0.0.0.0", port)
	}
	return m.url(address)
}

// config makes etcd's configuration, after seeing that the directory is this
// member's.
func (m Member) config(ctx context.Context) (*embed.Config, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	there, err := m.recall()
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Dir = m.Dir
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	if len(m.Peers) == 0 {
		cfg.Name = "manager"
		loopback := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{loopback}, []url.URL{loopback}
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{loopback}, []url.URL{loopback}
		cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
		// A single member waits for nobody, so a short election only starts sooner.
		cfg.TickMs, cfg.ElectionMs = 50, 500
		return cfg, nil
	}
	cfg.Name, cfg.InitialClusterToken = m.Name, "pinetree"
	cfg.TickMs, cfg.ElectionMs = 60, 600 // for one site; between sites an etcd of their own can be tuned
	peer, client := m.Peers[m.Name], m.endpoints()[0]
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{m.listen(peer)}, []url.URL{m.url(peer)}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{m.listen(client)}, []url.URL{m.url(client)}
	var cluster []string
	for _, name := range slices.Sorted(maps.Keys(m.Peers)) {
		at := m.url(m.Peers[name])
		cluster = append(cluster, name+"="+at.String())
	}
	cfg.InitialCluster = strings.Join(cluster, ",")
	if m.Files.any() {
		cfg.PeerTLSInfo, cfg.ClientTLSInfo = m.Files.info(), m.Files.info()
	}
	if m.Rejoin && !there {
		if err := m.rejoin(ctx); err != nil {
			return nil, fmt.Errorf("rejoin: %w", err)
		}
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	return cfg, m.remember(there)
}

// memory is what a member's directory remembers of the command line, and whether
// the member has ever been in the cluster.
type memory struct {
	Name   string            `json:"name"`
	Peers  map[string]string `json:"peers"`
	Joined bool              `json:"joined"`
}

func (m Member) file() string { return filepath.Join(m.Dir, "pinetree.json") }

// recall tells whether the directory holds this member, and refuses one that
// holds another.
func (m Member) recall() (there bool, err error) {
	_, err = os.Stat(filepath.Join(m.Dir, "member"))
	there = err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	encoded, err := os.ReadFile(m.file())
	switch {
	case errors.Is(err, os.ErrNotExist) && there && len(m.Peers) > 0:
		return false, errors.New("the directory is that of a cluster of one member, which cannot become one of several: " +
			"start it without peers, or these members with empty directories")
	case errors.Is(err, os.ErrNotExist):
		return there, nil
	case err != nil:
		return false, err
	}
	var was memory
	if err := json.Unmarshal(encoded, &was); err != nil {
		return false, fmt.Errorf("%s: %w", m.file(), err)
	}
	before := Member{Name: was.Name, Peers: was.Peers}
	if was.Name != m.Name || before.peers() != m.peers() {
		return false, fmt.Errorf("the directory is that of member %s of %s, and this is to be member %q of %q; name and peers stay as they were at first",
			was.Name, before.peers(), m.Name, m.peers())
	}
	if was.Joined && !there && !m.Rejoin {
		return false, errors.New("the files of this member are gone from its directory. " + lost)
	}
	return there, nil
}

// lost says what to do about a member without its files.
const lost = "A member without what it has promised must not vote under its old name. Bring the directory back, " +
	"or have the others replace the member: start it once with --etcd-rejoin and an empty directory, while a majority of the others runs"

// remember writes down what recall reads. Durable on return.
func (m Member) remember(joined bool) error {
	if len(m.Peers) == 0 {
		return nil
	}
	encoded, err := json.MarshalIndent(memory{m.Name, m.Peers, joined}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	if was, err := os.ReadFile(m.file()); err == nil && string(was) == string(encoded) {
		return nil
	}
	return writeDurably(m.file(), encoded)
}

// writeDurably replaces a file whole.
func writeDurably(path string, content []byte) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// explain says in words what etcd means.
func (m Member) explain(err error) error {
	if strings.Contains(err.Error(), "has already been bootstrapped") {
		return fmt.Errorf("member %s has been in this etcd cluster before, and its directory is empty. %s", m.Name, lost)
	}
	return err
}

// rejoin replaces this member by an empty one of the same name, at the others.
func (m Member) rejoin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cfg := clientv3.Config{Endpoints: m.endpoints()[1:], DialTimeout: 2 * time.Second, Logger: zap.NewNop()}
	if err := m.Files.protect(&cfg); err != nil {
		return err
	}
	others, err := clientv3.New(cfg)
	if err != nil {
		return err
	}
	defer others.Close()
	list, err := others.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("the other members, at %s, do not answer: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	at := m.url(m.Peers[m.Name])
	for _, member := range list.Members {
		if slices.Contains(member.PeerURLs, at.String()) || member.Name == m.Name {
			err := onceHealthy(ctx, func() error { _, err := others.MemberRemove(ctx, member.ID); return err })
			if err != nil {
				return fmt.Errorf("take the lost member out: %w", err)
			}
		}
	}
	err = onceHealthy(ctx, func() error { _, err := others.MemberAdd(ctx, []string{at.String()}); return err })
	if err != nil {
		return fmt.Errorf("take the empty member in: %w", err)
	}
	return nil
}

// onceHealthy tries a change of members again while etcd says that the others
// have not been connected for long enough, which is 5 s.
func onceHealthy(ctx context.Context, change func() error) error {
	for {
		err := change()
		if !errors.Is(err, rpctypes.ErrUnhealthy) {
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
