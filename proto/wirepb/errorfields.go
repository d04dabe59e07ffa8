package wirepb

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/pinetree-db/pinetree"
)

// The metadata of the typed errors. Numbers are decimal, LSNs in their printed
// form, so that a trace of the wire can be read.

func staleComputeTermFields(err error) map[string]string {
	e, ok := errors.AsType[*pinetree.StaleComputeTermError](err)
	if !ok {
		return nil
	}
	return map[string]string{"volume": decimal(e.Volume), "term": decimal(e.Term), "durable": e.Durable.String()}
}

func staleComputeTermOf(fields map[string]string) (error, error) {
	r := fieldReader{fields: fields}
	e := &pinetree.StaleComputeTermError{
		Volume: pinetree.VolumeID(r.number("volume")), Term: pinetree.ComputeTerm(r.number("term")), Durable: r.lsn("durable"),
	}
	return e, r.err
}

func notLeaderFields(err error) map[string]string {
	e, ok := errors.AsType[*pinetree.NotLeaderError](err)
	if !ok {
		return nil
	}
	return map[string]string{"group": decimal(e.Group), "leader": decimal(e.Leader), "addr": e.Addr}
}

func notLeaderOf(fields map[string]string) (error, error) {
	r := fieldReader{fields: fields}
	e := &pinetree.NotLeaderError{
		Group: pinetree.GroupID(r.number("group")), Leader: pinetree.NodeID(r.number("leader")), Addr: fields["addr"],
	}
	return e, r.err
}

func truncatedFields(err error) map[string]string {
	e, ok := errors.AsType[*pinetree.TruncatedError](err)
	if !ok {
		return nil
	}
	return map[string]string{"volume": decimal(e.Volume), "asked": e.Asked.String(), "first": e.First.String()}
}

func truncatedOf(fields map[string]string) (error, error) {
	r := fieldReader{fields: fields}
	e := &pinetree.TruncatedError{Volume: pinetree.VolumeID(r.number("volume")), Asked: r.lsn("asked"), First: r.lsn("first")}
	return e, r.err
}

func corruptFields(err error) map[string]string {
	e, ok := errors.AsType[*pinetree.CorruptError](err)
	if !ok {
		return nil
	}
	return map[string]string{"where": e.Where, "what": e.What}
}

func corruptOf(fields map[string]string) (error, error) {
	return &pinetree.CorruptError{Where: fields["where"], What: fields["what"]}, nil
}

func decimal[N ~uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

// fieldReader reads metadata and keeps the first error.
type fieldReader struct {
	fields map[string]string
	err    error
}

func (r *fieldReader) number(name string) uint64 {
	n, err := strconv.ParseUint(r.fields[name], 10, 64)
	r.note(name, err)
	return n
}

func (r *fieldReader) lsn(name string) pinetree.LSN {
	lsn, err := pinetree.ParseLSN(r.fields[name])
	r.note(name, err)
	return lsn
}

func (r *fieldReader) note(name string, err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("error metadata %q: %w", name, err)
	}
}
