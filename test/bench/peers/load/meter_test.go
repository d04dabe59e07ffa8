package load

import (
	"testing"
	"time"
)

func TestOnlyWhatIsAcknowledgedInTheMeasuredTimeCounts(t *testing.T) {
	m := newMeter(Config{Shape: Shape{Inflight: 8, RecordSize: 1000}})
	ack := func(records int, ago time.Duration) {
		for range records {
			m.Acked([]*Record{{submitted: time.Now().Add(-ago), acked: make(chan struct{}, 1)}})
		}
	}
	ack(5, time.Second) // warm-up
	if err := m.begin(); err != nil {
		t.Fatal(err)
	}
	ack(3, 20*time.Millisecond)
	time.Sleep(10 * time.Millisecond)
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	ack(4, time.Second)
	r := m.result()
	if measured := r.OpsPerSecond * m.took.Seconds(); measured < 2.99 || measured > 3.01 {
		t.Errorf("%v records count, want 3", measured)
	}
	if r.P50 < 20_000 || r.P999 > 900_000 {
		t.Errorf("three records took 20 ms each, not %v to %v µs", r.P50, r.P999)
	}
	if r.Acked != 12 {
		t.Errorf("%d records were acknowledged, want 12", r.Acked)
	}
}
