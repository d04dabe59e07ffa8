package main

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship/example/pagestore"
)

// The bank's accounts are on the pages from 1 on.
const (
	bankPages       = 64
	accountsPerPage = 4
	accounts        = bankPages * accountsPerPage
	accountBytes    = pagestore.PageBytes / accountsPerPage
	// firstBalance is in every account when the bank is founded.
	firstBalance = 1_000
	total        = accounts * firstBalance
	// bookBytes of an account say what is in it; the rest is filled by large
	// transactions.
	bookBytes = 16
)

// account is what a page holds of an account. Changes counts the moves that have
// changed it, so that two that cancel each other are still seen.
type account struct {
	Balance int64
	Changes uint64
}

// books are all accounts.
type books [accounts]account

// move takes an amount from one account to another.
type move struct {
	From   int   `json:"from"`
	To     int   `json:"to"`
	Amount int64 `json:"amount"`
}

// found puts the first balance into every account.
func (b *books) found() {
	for i := range b {
		b[i] = account{Balance: firstBalance}
	}
}

func (b *books) move(m move) {
	b[m.From].Balance -= m.Amount
	b[m.From].Changes++
	b[m.To].Balance += m.Amount
	b[m.To].Changes++
}

// sum of all balances.
func (b *books) sum() int64 {
	sum := int64(0)
	for _, a := range b {
		sum += a.Balance
	}
	return sum
}

// hash tells whether two books are the same.
func (b *books) hash() uint64 {
	h := fnv.New64a()
	for _, a := range b {
		h.Write(a.encode())
	}
	return h.Sum64()
}

func (a account) encode() []byte {
	book := binary.LittleEndian.AppendUint64(nil, uint64(a.Balance))
	return binary.LittleEndian.AppendUint64(book, a.Changes)
}

func decodeAccount(book []byte) account {
	return account{Balance: int64(binary.LittleEndian.Uint64(book)), Changes: binary.LittleEndian.Uint64(book[8:])}
}

// placeOf is where an account is.
func placeOf(n int) (page pinetree.PageNo, offset int) {
	return pinetree.PageNo(1 + n/accountsPerPage), n % accountsPerPage * accountBytes
}

// foundIn makes the bank on empty pages.
func foundIn(t *pagestore.Txn) error {
	for n := range accounts {
		page, offset := placeOf(n)
		if err := t.Write(page, offset, account{Balance: firstBalance}.encode()); err != nil {
			return err
		}
	}
	return nil
}

// moveIn moves money in a transaction.
func moveIn(t *pagestore.Txn, m move) error {
	for _, change := range []struct {
		account int
		amount  int64
	}{{m.From, -m.Amount}, {m.To, m.Amount}} {
		page, offset := placeOf(change.account)
		book := make([]byte, bookBytes)
		if err := t.Read(page, offset, book); err != nil {
			return err
		}
		a := decodeAccount(book)
		a.Balance += change.amount
		a.Changes++
		if err := t.Write(page, offset, a.encode()); err != nil {
			return err
		}
	}
	return nil
}

// fillIn writes to all of the rest of an account, which makes a transaction large.
func fillIn(t *pagestore.Txn, n int) error {
	page, offset := placeOf(n)
	noise := make([]byte, accountBytes-bookBytes)
	for i := 0; i < len(noise); i += 8 {
		binary.LittleEndian.PutUint64(noise[i:], rand.Uint64())
	}
	return t.Write(page, offset+bookBytes, noise)
}

// someMoves makes up a transfer; a large one moves money from an account to all
// others.
func someMoves(large bool) []move {
	from := rand.IntN(accounts)
	if !large {
		return []move{{from, (from + 1 + rand.IntN(accounts-1)) % accounts, 1 + rand.Int64N(100)}}
	}
	var moves []move
	for to := range accounts {
		if to != from {
			moves = append(moves, move{from, to, 1})
		}
	}
	return moves
}

// readPage reads a part of a page.
type readPage func(ctx context.Context, page pinetree.PageNo, offset int, into []byte) error

// readBooks reads all accounts.
func readBooks(ctx context.Context, read readPage) (*books, error) {
	b := new(books)
	data := make([]byte, pagestore.PageBytes)
	for n := range accounts {
		page, offset := placeOf(n)
		if offset == 0 {
			if err := read(ctx, page, 0, data); err != nil {
				return nil, err
			}
		}
		b[n] = decodeAccount(data[offset:])
	}
	return b, nil
}
