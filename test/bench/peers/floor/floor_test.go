package floor

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

// follower stands in for a follower: it says to have on disk what the test
// wants it to say.
type follower struct {
	t        *testing.T
	listener net.Listener
	conn     net.Conn
}

func listen(t *testing.T) *follower {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &follower{t: t, listener: l}
}

func (f *follower) addr() string { return f.listener.Addr().String() }

func (f *follower) accept() {
	f.t.Helper()
	var err error
	if f.conn, err = f.listener.Accept(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = f.conn.Close() })
}

// receive reads so many bytes of the log.
func (f *follower) receive(n int) []byte {
	f.t.Helper()
	b := make([]byte, n)
	if err := f.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := io.ReadFull(f.conn, b); err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *follower) saved(bytes uint64) {
	f.t.Helper()
	if _, err := f.conn.Write(binary.LittleEndian.AppendUint64(nil, bytes)); err != nil {
		f.t.Fatal(err)
	}
}

// acks counts what is acknowledged.
type acks chan int

func (a acks) Acked(records []*load.Record) { a <- len(records) }
func (a acks) Failed(error)                 { a <- -1 }

func (a acks) expect(t *testing.T, want int) {
	t.Helper()
	select {
	case got := <-a:
		if got != want {
			t.Fatalf("%d records were acknowledged, want %d", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("nothing was acknowledged, want %d records", want)
	}
}

func (a acks) expectNone(t *testing.T) {
	t.Helper()
	select {
	case got := <-a:
		t.Fatalf("%d records were acknowledged, want none", got)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestLeaderAcknowledgesWhatTwoHaveSaved(t *testing.T) {
	second, third, clients := listen(t), listen(t), listen(t)
	if err := clients.listener.Close(); err != nil { // a port that is free
		t.Fatal(err)
	}
	leader, err := Start(replica.Config{
		ID: 1, Dir: t.TempDir(), Front: front.TCP,
		Peers: []string{"", second.addr(), third.addr()}, Clients: []string{clients.addr(), "", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	second.accept()
	third.accept()
	heard := make(acks, 10)
	client, err := front.Dial(front.TCP, clients.addr(), heard)
	if err != nil {
		t.Fatal(err)
	}
	record := &load.Record{Payload: []byte("0123456789")}
	frame := front.AppendFrame(nil, record.Payload)
	size := uint64(len(frame))

	client.Submit([]*load.Record{record, record})
	for _, f := range []*follower{second, third} {
		if got := f.receive(2 * len(frame)); string(got) != string(append(frame, frame...)) {
			t.Fatalf("a follower got %q", got)
		}
	}
	heard.expectNone(t) // the leader alone has it
	second.saved(2*size - 1)
	heard.expectNone(t) // not all of the batch
	second.saved(2 * size)
	heard.expect(t, 2)
	third.saved(2 * size)
	heard.expectNone(t) // each record once

	client.Submit([]*load.Record{record})
	third.receive(len(frame))
	third.saved(3 * size)
	heard.expect(t, 1) // any two will do

	if s, err := leader.Status(); err != nil || s.Records != 3 || !s.Ready {
		t.Errorf("the leader has saved three records and says %+v, %v", s, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := leader.Close(); err != nil {
		t.Error(err)
	}
}

func TestFollowerSaysWhatItHasSaved(t *testing.T) {
	own := listen(t)
	if err := own.listener.Close(); err != nil {
		t.Fatal(err)
	}
	server, err := Start(replica.Config{ID: 2, Dir: t.TempDir(), Peers: []string{"", own.addr(), ""}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", own.addr())
	if err != nil {
		t.Fatal(err)
	}
	leader := &follower{t: t, conn: conn}
	log := front.AppendFrame(front.AppendFrame(nil, []byte("one")), []byte("three"))
	cut := len(log) - 2
	if _, err := conn.Write(log[:cut]); err != nil {
		t.Fatal(err)
	}
	if saved := binary.LittleEndian.Uint64(leader.receive(8)); saved != uint64(cut) {
		t.Errorf("%d bytes were sent, and %d saved", cut, saved)
	}
	if s, err := server.Status(); err != nil || s.Records != 1 || s.Ready {
		t.Errorf("a follower with one record and a part of the next says %+v, %v", s, err)
	}
	if _, err := conn.Write(log[cut:]); err != nil {
		t.Fatal(err)
	}
	if saved := binary.LittleEndian.Uint64(leader.receive(8)); saved != uint64(len(log)) {
		t.Errorf("%d bytes were sent, and %d saved", len(log), saved)
	}
	if s, err := server.Status(); err != nil || s.Records != 2 {
		t.Errorf("a follower with two records says %+v, %v", s, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

func TestFileBeginsAgainAtItsEnd(t *testing.T) {
	f, err := createFile(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	f.end = fileBytes - 4
	for _, c := range []struct {
		bytes string
		end   int64
	}{{"full", fileBytes}, {"next", 4}} {
		if err := f.save([]byte(c.bytes)); err != nil || f.end != c.end {
			t.Errorf("after %q the end is %d, want %d; error %v", c.bytes, f.end, c.end, err)
		}
		got := make([]byte, len(c.bytes))
		if _, err := f.f.ReadAt(got, c.end-int64(len(got))); err != nil || string(got) != c.bytes {
			t.Errorf("%q was saved and %q read, error %v", c.bytes, got, err)
		}
	}
	if info, err := f.f.Stat(); err != nil || info.Size() != fileBytes {
		t.Errorf("the file has grown: %v, %v", info.Size(), err)
	}
	if err := f.f.Close(); err != nil {
		t.Error(err)
	}
}
