package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	createTimeout  = 20 * time.Second
	publishTimeout = 10 * time.Second
	// depth is how many atomic batches are under way before messages gather for
	// a full one, mostDeep how many full ones are; a stream takes 50.
	depth, mostDeep = 4, 32
	batchBytes      = 2 << 20
)

// Batch is how many messages an atomic batch has at most.
type Batch int

// Dial makes the stream and connects to the server that leads it. With batches
// of one, messages are published asynchronously one by one.
func Dial(clients []string, batch Batch, sink load.Sink) (load.Client, error) {
	leader, err := createStream(clients, batch > 1)
	if err != nil {
		return nil, fmt.Errorf("make the stream: %w", err)
	}
	conn, err := nats.Connect("nats://"+leader, nats.NoReconnect())
	if err != nil {
		return nil, err
	}
	if batch > 1 {
		return dialBatches(conn, batch, sink), nil
	}
	c := &client{conn: conn, sink: sink, waiting: map[*nats.Msg]*load.Record{}}
	c.stream, err = jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(bufferedMessages),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, _ *jetstream.PubAck) { c.acked(m) }),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { sink.Failed(err) }))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// createStream returns the address of the server that leads it.
func createStream(clients []string, atomic bool) (string, error) {
	conn, err := nats.Connect("nats://" + clients[0])
	if err != nil {
		return "", err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), createTimeout)
	defer cancel()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subject}, Replicas: replica.Count, Storage: jetstream.FileStorage,
		AllowAtomicPublish: atomic,
	})
	for err == nil {
		var info *jetstream.StreamInfo
		if info, err = stream.Info(ctx); err == nil && info.Cluster != nil {
			for i, addr := range clients {
				if info.Cluster.Leader == replica.NameOf(replica.ID(i+1)) {
					return addr, nil
				}
			}
		}
	}
	return "", err
}

// client publishes messages one by one.
type client struct {
	conn   *nats.Conn
	stream jetstream.JetStream
	sink   load.Sink

	mu      sync.Mutex
	waiting map[*nats.Msg]*load.Record
}

// Submit implements load.Client.
func (c *client) Submit(records []*load.Record) {
	for _, r := range records {
		m := &nats.Msg{Subject: subject, Data: r.Payload}
		c.mu.Lock()
		c.waiting[m] = r
		c.mu.Unlock()
		if _, err := c.stream.PublishMsgAsync(m); err != nil {
			c.sink.Failed(err)
			return
		}
	}
}

func (c *client) acked(m *nats.Msg) {
	c.mu.Lock()
	r := c.waiting[m]
	delete(c.waiting, m)
	c.mu.Unlock()
	c.sink.Acked([]*load.Record{r})
}

// Close implements load.Client.
func (c *client) Close() error {
	c.stream.CleanupPublisher()
	c.conn.Close()
	return nil
}

// dialBatches publishes atomic batches: all but the last message of a batch
// go without an answer, the last one commits it and is answered.
func dialBatches(conn *nats.Conn, batch Batch, sink load.Sink) load.Client {
	var batches atomic.Uint64
	return load.NewPool(sink, load.PoolConfig{
		Records: int(batch), Bytes: batchBytes, Depth: depth, Most: mostDeep,
		Commit: func(ctx context.Context, records []*load.Record) error {
			ctx, cancel := context.WithTimeout(ctx, publishTimeout)
			defer cancel()
			id := strconv.FormatUint(batches.Add(1), 36)
			for i, r := range records {
				m := &nats.Msg{Subject: subject, Data: r.Payload}
				if len(records) > 1 {
					m.Header = nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)}}
				}
				if i < len(records)-1 {
					if err := conn.PublishMsg(m); err != nil {
						return err
					}
					continue
				}
				if len(records) > 1 {
					m.Header.Set("Nats-Batch-Commit", "1")
				}
				return commit(ctx, conn, m, len(records))
			}
			return nil
		},
		Close: func() error { conn.Close(); return nil },
	})
}

// commit publishes the last message of a batch and checks the answer.
func commit(ctx context.Context, conn *nats.Conn, m *nats.Msg, size int) error {
	answer, err := conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	var ack struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
		Sequence uint64 `json:"seq"`
		Count    int    `json:"count"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return fmt.Errorf("the answer to a batch is %q: %w", answer.Data, err)
	case ack.Error != nil:
		return errors.New("the server refused a batch: " + ack.Error.Description)
	case ack.Sequence == 0 || size > 1 && ack.Count != size:
		return fmt.Errorf("a batch of %d messages was answered with %q", size, answer.Data)
	}
	return nil
}
