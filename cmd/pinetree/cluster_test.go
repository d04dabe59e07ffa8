package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// startCluster starts processes of this test binary and makes the commands
// talk to them.
func startCluster(t *testing.T, nodes int) (*localcluster.Cluster, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	c, err := localcluster.Start(context.Background(), localcluster.Config{Dir: dir, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("PINETREE_MANAGER", c.Manager.Addr)
	return c, dir
}

// eventually repeats a command until it is done, and returns what it printed.
// An order that is right and too early, on a busy machine, is refused.
func eventually(t *testing.T, args ...string) string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		o := run(t, args...)
		if o.code == cli.ExitDone {
			return o.out
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", strings.Join(args, " "), o.err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestCommandsOnACluster(t *testing.T) {
	c, dir := startCluster(t, 3)
	eventually(t, "clustermgr", "volume", "create", "notes", "--format", "redo")
	t.Run("operator", func(t *testing.T) { testOperator(t) })
	t.Run("replicas", func(t *testing.T) { testReplicas(t) })
	t.Run("keys", func(t *testing.T) { testKeys(t) })
	t.Run("metadata", func(t *testing.T) { testMeta(t) })
	t.Run("pages", func(t *testing.T) { testPages(t) })
	t.Run("PostgreSQL", func(t *testing.T) { testPostgreSQL(t) })
	t.Run("damage", func(t *testing.T) { testDamage(t) })
	t.Run("the end of the log", func(t *testing.T) { testPadding(t) })
	t.Run("dump", func(t *testing.T) { testDump(t, c, dir) })
}

func testOperator(t *testing.T) {
	nodes := parsed[[]struct {
		Node  int    `json:"node"`
		State string `json:"state"`
		Zone  string `json:"zone"`
	}](t, "clustermgr", "node", "ls")
	if len(nodes) != 3 || nodes[0].Node != 1 || nodes[2].Zone != "c" {
		t.Errorf("node ls: %+v", nodes)
	}
	type group struct {
		Group  int `json:"group"`
		Leader int `json:"leader"`
	}
	before := parsed[[]group](t, "clustermgr", "leader", "show", "1")
	var moved struct {
		From  int  `json:"from"`
		To    int  `json:"to"`
		Moved bool `json:"moved"`
	}
	text := eventually(t, "clustermgr", "leader", "move", "1", "-o", "json")
	if err := json.Unmarshal([]byte(text), &moved); err != nil {
		t.Errorf("%v in %s", err, text)
	}
	if len(before) != 1 || !moved.Moved || moved.From != before[0].Leader || moved.To == moved.From {
		t.Errorf("leader %+v, move %+v", before, moved)
	}
	for _, args := range [][]string{
		{"clustermgr", "group", "ls"}, {"clustermgr", "group", "show", "1"}, {"clustermgr", "volume", "ls"}, {"clustermgr", "lease", "ls"},
		{"clustermgr", "route", "notes"}, {"clustermgr", "events"},
	} {
		parsed[any](t, args...)
		if must(t, args...) == "" {
			t.Errorf("%v prints nothing as a table", args)
		}
	}
}

func testKeys(t *testing.T) {
	must(t, "key", "put", "--volume", "notes", "colour", "green")
	first := parsed[struct {
		Value struct{ Text string } `json:"value"`
		LSN   pinetree.LSN          `json:"lsn"`
		Level string                `json:"level"`
	}](t, "key", "get", "--volume", "notes", "colour", "--read", "consistent")
	if first.Value.Text != "green" || first.LSN == 0 || first.Level != "consistent" {
		t.Errorf("key get: %+v", first)
	}
	bounded := parsed[struct {
		Value   struct{ Text string } `json:"value"`
		StaleMS *int                  `json:"stale_ms"`
	}](t, "key", "get", "--volume", "notes", "colour", "--read", "stale", "--max-staleness", "1ms")
	if bounded.Value.Text != "green" || bounded.StaleMS == nil || *bounded.StaleMS > 1 {
		t.Errorf("key get --max-staleness: %+v", bounded)
	}
	route := filepath.Join(t.TempDir(), "notes.route")
	must(t, "key", "get", "--volume", "notes", "colour", "--route-file", route)
	if out := must(t, "key", "get", "--volume", "notes", "colour", "--route-file", route, "--manager", "127.0.0.1:1"); !strings.Contains(out, "green") {
		t.Errorf("by the stored route, without a manager: %s", out)
	}
	must(t, "key", "put", "--volume", "notes", "colour", "blue")
	if out := must(t, "key", "get", "--volume", "notes", "colour", "--at", first.LSN.String()); !strings.Contains(out, "green") {
		t.Errorf("as of %s: %s", first.LSN, out)
	}
	if out := must(t, "key", "ls", "--volume", "notes"); !strings.Contains(out, "blue") || strings.Contains(out, "green") {
		t.Errorf("key ls: %s", out)
	}
	must(t, "key", "put", "--volume", "notes", "colour", "--delete")
	if o := run(t, "key", "get", "--volume", "notes", "colour"); o.code != cli.ExitFailed || !strings.Contains(o.err, "not found") {
		t.Errorf("a deleted key: %+v", o)
	}
	if o := run(t, "key", "get", "--volume", "no-such-volume", "colour"); o.code != cli.ExitFailed || !strings.Contains(o.err, "no-such-volume") {
		t.Errorf("no such volume: %+v", o)
	}
}

func testPages(t *testing.T) {
	var in []byte
	for _, op := range []*storepb.RedoOp{
		{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: 9, Image: []byte("a page of bytes")}}},
		{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: 9, Offset: 2, Bytes: []byte("PAGE")}}},
	} {
		payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{op}})
		if err != nil {
			t.Fatal(err)
		}
		in = append(binary.AppendUvarint(in, uint64(len(payload))), payload...)
	}
	if o := runWith(t, in, "ship", "--volume", "pages", "--create", "--format", "redo", "-"); o.code != cli.ExitDone {
		t.Fatal(o.err)
	}
	if got := must(t, "page", "get", "9", "--volume", "pages", "--raw"); got != "a PAGE of bytes" {
		t.Errorf("page get --raw: %q", got)
	}
	if got := must(t, "page", "get", "9", "--volume", "pages"); !strings.Contains(got, "|a PAGE of bytes|") {
		t.Errorf("page get: %s", got)
	}
	page := parsed[struct {
		Bytes []byte       `json:"bytes"`
		LSN   pinetree.LSN `json:"lsn"`
	}](t, "page", "get", "9", "--volume", "pages")
	if string(page.Bytes) != "a PAGE of bytes" || page.LSN != pinetree.LSN(len(in)) {
		t.Errorf("page get -o json: %+v", page)
	}
	if got := must(t, "page", "get", "9", "9", "--volume", "pages", "--raw"); got != "a PAGE of bytesa PAGE of bytes" {
		t.Errorf("page get --raw of several: %q", got)
	}
	several := parsed[struct {
		Pages []*struct {
			Page  int    `json:"page"`
			Bytes []byte `json:"bytes"`
		} `json:"pages"`
		At pinetree.LSN `json:"at"`
	}](t, "page", "get", "8", "9", "--volume", "pages")
	if len(several.Pages) != 2 || several.Pages[0] != nil || several.Pages[1].Page != 9 || string(several.Pages[1].Bytes) != "a PAGE of bytes" || several.At != pinetree.LSN(len(in)) {
		t.Errorf("page get of several -o json: %+v", several)
	}
	if got := must(t, "page", "get", "8", "9", "--volume", "pages", "-o", "table"); !strings.Contains(got, "never written") {
		t.Errorf("page get of several: %s", got)
	}
	if o := run(t, "page", "get", "8", "9", "--volume", "pages", "--raw"); o.code != cli.ExitFailed || !strings.Contains(o.err, "page 8") {
		t.Errorf("page get --raw of one that was never written: %+v", o)
	}
	// The same input again ships nothing; redo that is none is refused.
	again := runWith(t, in, "ship", "--volume", "pages", "-", "-o", "json")
	var done shipped
	if err := json.Unmarshal([]byte(again.out), &done); err != nil || done.Records != 0 || done.Durable != pinetree.LSN(len(in)) {
		t.Errorf("shipped again: %+v, %v", again, err)
	}
	if o := runWith(t, append(in, 3, 'x', 'y', 'z'), "ship", "--volume", "pages", "-"); o.code != cli.ExitFailed || !strings.Contains(o.err, "corrupt") {
		t.Errorf("redo that cannot be replayed: %+v", o)
	}
}

func testPostgreSQL(t *testing.T) {
	wal := t.TempDir()
	if err := pgsample.Unpack(wal); err != nil {
		t.Fatal(err)
	}
	done := parsed[shipped](t, "ship", "--volume", "pg", "--create", wal)
	if done.Records != pgsample.Records+2 || done.WAL == nil || done.WAL.Records != pgsample.Records || done.Bytes != pgsample.Bytes {
		t.Errorf("ship: %+v", done)
	}
	for node := 1; node <= 3; node++ {
		sum := md5.Sum([]byte(must(t, "tail", "--volume", "pg", "--raw", "--read", "stale", "--min-lsn", done.Durable.String(), "--node", fmt.Sprint(node))))
		if got := hex.EncodeToString(sum[:]); got != pgsample.MD5 {
			t.Errorf("node %d gives back md5 %s", node, got)
		}
	}
	out := must(t, "tail", "--volume", "pg", "--from", (done.Durable - 184).String(), "-o", "json")
	var last struct {
		LSN     pinetree.LSN `json:"lsn"`
		Payload []byte       `json:"payload"`
	}
	if err := json.Unmarshal([]byte(out), &last); err != nil || last.LSN != done.Durable || len(last.Payload) != 184 {
		t.Errorf("the last record: %s, %v", out, err)
	}
}

func testDamage(t *testing.T) {
	wal := t.TempDir()
	if err := pgsample.Unpack(wal); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(wal, "0*"))
	if err != nil || len(files) != pgsample.Segments {
		t.Fatal(files, err)
	}
	whole := concatenate(t, files)
	spoil(t, files[3], 600_000)
	o := run(t, "ship", "--volume", "damaged", "--create", wal, "-o", "json")
	var done shipped
	if err := json.Unmarshal([]byte(o.out), &done); err != nil {
		t.Fatalf("%v in %+v", err, o)
	}
	if o.code != cli.ExitFailed || !strings.Contains(o.err, filepath.Base(files[3])) || !strings.Contains(o.err, done.Durable.String()) || done.Damage == "" {
		t.Errorf("a flipped bit: %+v", o)
	}
	got := must(t, "tail", "--volume", "damaged", "--raw", "--no-pad")
	if int64(len(got)) != done.Bytes || done.Bytes < 3<<20 || !bytes.HasPrefix(whole, []byte(got)) {
		t.Errorf("what was before the damage: %d bytes of %d", len(got), done.Bytes)
	}
}

func concatenate(t *testing.T, files []string) []byte {
	t.Helper()
	var all []byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// spoil flips a bit of a file.
func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x04
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// testPadding ships a log whose last segment is written in part, as that of a
// running server is: its zeroes come back, too, unless they are not wanted.
func testPadding(t *testing.T) {
	wal := t.TempDir()
	if err := pgsample.Unpack(wal); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(wal, "0*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files[2:] {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	end := cutAfter(t, wal, files[1], 300_000)
	whole := concatenate(t, files[:2])
	must(t, "ship", "--volume", "partial", "--create", wal)
	if got := must(t, "tail", "--volume", "partial", "--raw"); got != string(whole) {
		t.Errorf("%d bytes come back, the segments have %d", len(got), len(whole))
	}
	if got := must(t, "tail", "--volume", "partial", "--raw", "--no-pad"); got != string(whole[:end]) {
		t.Errorf("%d bytes come back without padding, want %d", len(got), end)
	}
}

// cutAfter overwrites the last segment with zeroes from the end of the first
// record that ends after an offset in it, and returns how long the log is.
func cutAfter(t *testing.T, wal, last string, offset int64) int64 {
	t.Helper()
	w, err := pgwal.Open(pgwal.Paths(wal), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	size := w.SegmentBytes()
	var length int64
	for length < size+offset {
		r, err := w.Next()
		if err == io.EOF {
			t.Fatal("the log is shorter than a segment and the offset")
		}
		if err != nil {
			t.Fatal(err)
		}
		length = int64(r.LSN - w.Base())
	}
	data, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[length-size:])
	if err := os.WriteFile(last, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return length
}

// testDump stops a node and looks into its files.
func testDump(t *testing.T, c *localcluster.Cluster, dir string) {
	if err := c.Nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	type found struct {
		Identity struct{ Node int }
		Frames   []struct{ Kind string }                          `json:"raftlog"`
		Groups   []struct{ Volumes []struct{ LSN pinetree.LSN } } `json:"groups"`
	}
	all := parsed[found](t, "dump", filepath.Join(dir, "node-1"))
	if all.Identity.Node != 1 || len(all.Frames) == 0 || len(all.Groups) == 0 || len(all.Groups[0].Volumes) != 1 || all.Groups[0].Volumes[0].LSN == 0 {
		t.Errorf("dump of a node: identity %+v, %d frames, groups %+v", all.Identity, len(all.Frames), all.Groups)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "node-1", "raftlog", "*.raftlog"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	if out := must(t, "dump", segments[0]); !strings.Contains(out, "checkpoint") {
		t.Errorf("dump of a segment: %s", out)
	}
	if out := must(t, "dump", filepath.Join(dir, "node-1", "identity")); !strings.Contains(out, "node 1 of cluster") {
		t.Errorf("dump of the identity: %s", out)
	}
	spoil(t, segments[0], 100) // in the head of the first frame after the checkpoint
	if o := run(t, "dump", segments[0]); o.code != cli.ExitFailed || !strings.Contains(o.err, filepath.Base(segments[0])) {
		t.Errorf("dump of a damaged segment: %+v", o)
	}
}
