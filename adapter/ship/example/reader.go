package main

import (
	"bufio"
	"context"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/adapter/ship/example/pagestore"
)

// lookTimeout bounds the taking and reading of one snapshot.
const lookTimeout = 20 * time.Second

// read is the life of a compute node that only reads. Each line on its standard
// input is an LSN: it looks at all accounts in a snapshot that is at least there.
func read(ctx context.Context, where place) error {
	client, err := dial(ctx, where)
	if err != nil {
		return err
	}
	defer client.Close()
	wanted := make(chan pinetree.LSN)
	asked, cancel := untilAsked(ctx, func(r io.Reader) {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			lsn, err := pinetree.ParseLSN(lines.Text())
			if err != nil {
				return
			}
			wanted <- lsn
		}
	})
	defer cancel()
	for {
		select {
		case <-asked.Done():
			emit(event{What: closed})
			return nil
		case least := <-wanted:
			e, err := look(ctx, client, least)
			if err != nil {
				emit(event{What: failedFor, Error: err.Error()})
				return err
			}
			emit(e)
		}
	}
}

// look reads all accounts in one snapshot.
func look(ctx context.Context, client *ship.Client, least pinetree.LSN) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	s, err := pagestore.TakeSnapshot(ctx, client, least)
	if err != nil {
		return event{}, err
	}
	b, err := readBooks(ctx, s.Read)
	if err != nil {
		return event{}, err
	}
	return event{What: looked, LSN: s.LSN, Least: least, Commits: s.Commits, Sum: b.sum(), Hash: b.hash(), Node: s.Node}, nil
}
