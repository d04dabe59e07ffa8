package benchread

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// patchBytes is the size of a patch.
const patchBytes = 32

// numberBytes at the beginning of a page are its number, which no patch changes.
const numberBytes = 8

// filled is the volume that is read.
type filled struct {
	client *ship.Client
	apart  *ship.Client // the same, and no two reads share a call
	end    pinetree.LSN
	at     pinetree.LSN // what is read; zero is the newest
}

// fill makes a volume, writes it and waits until every replica has replayed it.
func fill(ctx context.Context, s *testbed.Servers, cfg Config) (*filled, error) {
	names, err := s.Place(ctx, testbed.Layout{Groups: 1, Volumes: 1, Format: pinetree.FormatRedo})
	if err != nil {
		return nil, err
	}
	dial, err := s.Managers.TLS.Dial(slog.Default())
	if err != nil {
		return nil, err
	}
	settings := ship.Config{Managers: s.Managers.Addresses, Volume: names[0], Dial: dial, Logger: slog.New(slog.DiscardHandler)}
	f := &filled{}
	if f.client, err = ship.Dial(ctx, settings); err != nil {
		return nil, err
	}
	settings.Gather.Off = true
	if f.apart, err = ship.Dial(ctx, settings); err != nil {
		_ = f.close() // the error that counts is the one before
		return nil, err
	}
	fmt.Fprintf(cfg.Say, "writing %d pages of %d bytes and %d patches\n", cfg.Pages, cfg.PageBytes, cfg.Patches)
	if err = f.write(ctx, cfg); err == nil {
		err = f.catchUp(ctx)
	}
	if err != nil {
		_ = f.close() // the error that counts is the one before
		return nil, err
	}
	return f, nil
}

func (f *filled) close() error {
	err := f.client.Close()
	if f.apart != nil {
		err = errors.Join(err, f.apart.Close())
	}
	return err
}

// write ships the pages and the patches.
func (f *filled) write(ctx context.Context, cfg Config) error {
	w, err := f.client.OpenWriter(ctx, ship.WriterConfig{})
	if err != nil {
		return err
	}
	f.end = w.Durable()
	random := rand.NewChaCha8([32]byte{2})
	for page := range cfg.Pages {
		image := make([]byte, cfg.PageBytes)
		_, _ = io.ReadFull(random, image) // never fails
		binary.BigEndian.PutUint64(image, uint64(page))
		op := &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: uint64(page), Image: image}}}
		if err := f.append(ctx, w, op); err != nil {
			return err
		}
	}
	for i := range cfg.Patches {
		bytes := make([]byte, patchBytes)
		_, _ = io.ReadFull(random, bytes) // never fails
		patch := &storepb.PagePatch{
			Page: random.Uint64() % uint64(cfg.Pages), Bytes: bytes,
			Offset: uint32(numberBytes + random.Uint64()%uint64(cfg.PageBytes-patchBytes-numberBytes)),
		}
		if err := f.append(ctx, w, &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: patch}}); err != nil {
			return err
		}
		if cfg.Back > 0 && i == cfg.Patches-cfg.Back-1 {
			f.at = f.end
		}
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	return w.Close()
}

func (f *filled) append(ctx context.Context, w *ship.Writer, op *storepb.RedoOp) error {
	payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{op}})
	if err != nil {
		return err
	}
	record := pinetree.Record{Prev: f.end, LSN: f.end + pinetree.LSN(len(payload)), Payload: payload}
	f.end = record.LSN
	return w.Append(ctx, record)
}

// catchUp waits until every replica has replayed everything.
func (f *filled) catchUp(ctx context.Context) error {
	for _, at := range f.client.Route().Replicas {
		cfg := ship.ReadConfig{Level: pinetree.ReadStale, Node: at.Node, MinLSN: f.end}
		if _, err := f.client.Reader(cfg).State(ctx); err != nil {
			return fmt.Errorf("node %d has not replayed what was written: %w", at.Node, err)
		}
	}
	return nil
}
