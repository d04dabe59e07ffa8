package etcdstore

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestAnEtcdThatAsksForAPasswordIsGivenIt(t *testing.T) {
	etcd := startEtcd(t)
	admin, err := clientv3.New(clientv3.Config{Endpoints: etcd.Endpoints, DialTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, step := range []func() error{
		func() error { _, err := admin.UserAdd(t.Context(), "root", "secret"); return err },
		func() error { _, err := admin.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := admin.AuthEnable(t.Context()); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	// Etcd takes its time for a password, the more so with the race detector.
	s, err := Open(Config{Endpoints: etcd.Endpoints, User: "root", Password: "secret", Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	mustSwap(t, s, campaign(t, s, "m1"), put("k", "v", 0))
	if wrong, err := Open(Config{Endpoints: etcd.Endpoints, User: "root", Password: "guess", Timeout: 30 * time.Second}); err == nil {
		_ = wrong.Close()
		t.Error("a wrong password was taken")
	}
	without := open(t, etcd, "")
	if _, err := without.Read(t.Context(), ""); err == nil {
		t.Error("nobody was asked for a password")
	}
}
