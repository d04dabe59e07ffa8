package wirepb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
)

// ErrorDomain is the domain of every ErrorInfo made here. An ErrorInfo of
// another domain is somebody else's and is left alone.
const ErrorDomain = "pinetree"

// errorRow is one line of the table: a sentinel, what it is on the wire, and
// for the sentinels that have a typed error, how its fields become metadata.
type errorRow struct {
	sentinel error
	code     codes.Code
	reason   string
	// fields makes the metadata of the typed error in err, nil when err holds
	// only the sentinel.
	fields func(err error) map[string]string
	// typed makes the typed error of that metadata, or an error when it cannot
	// be read.
	typed func(fields map[string]string) (error, error)
}

// errorTable is the one table between errors and gRPC codes. An error that
// holds several sentinels travels under the code of the first row it matches
// and carries the reasons of all.
var errorTable = []errorRow{
	{pinetree.ErrStaleComputeTerm, codes.FailedPrecondition, "STALE_COMPUTE_TERM", staleComputeTermFields, staleComputeTermOf},
	{pinetree.ErrStaleAppointment, codes.FailedPrecondition, "STALE_APPOINTMENT", nil, nil},
	{pinetree.ErrNotLeader, codes.Aborted, "NOT_LEADER", notLeaderFields, notLeaderOf},
	{pinetree.ErrNoLease, codes.Unavailable, "NO_LEASE", nil, nil},
	{pinetree.ErrStopped, codes.Unavailable, "STOPPED", nil, nil},
	{pinetree.ErrQueueFull, codes.ResourceExhausted, "QUEUE_FULL", nil, nil},
	{pinetree.ErrDiskFull, codes.ResourceExhausted, "DISK_FULL", nil, nil},
	{pinetree.ErrOverQuota, codes.ResourceExhausted, "OVER_QUOTA", nil, nil},
	{pinetree.ErrBadBatch, codes.InvalidArgument, "BAD_BATCH", nil, nil},
	{pinetree.ErrUnknownVolume, codes.NotFound, "UNKNOWN_VOLUME", nil, nil},
	{pinetree.ErrUnknownGroup, codes.NotFound, "UNKNOWN_GROUP", nil, nil},
	{pinetree.ErrTruncated, codes.OutOfRange, "TRUNCATED", truncatedFields, truncatedOf},
	{pinetree.ErrCorrupt, codes.DataLoss, "CORRUPT", corruptFields, corruptOf},
	{pinetree.ErrNotFound, codes.NotFound, "NOT_FOUND", nil, nil},
	{pinetree.ErrExists, codes.AlreadyExists, "EXISTS", nil, nil},
}

// Error makes the status error that carries err over the wire. Nil stays nil
// and a status error passes unchanged. An error without a sentinel keeps the
// code of the status or context error that it wraps, or becomes Unknown.
func Error(err error) error {
	if err == nil {
		return nil
	}
	if _, isStatus := err.(interface{ GRPCStatus() *status.Status }); isStatus {
		return err
	}
	// A status with a string that is not UTF-8 loses its details on the wire.
	message := strings.ToValidUTF8(err.Error(), "\uFFFD")
	var st *status.Status
	for _, row := range errorTable {
		if !errors.Is(err, row.sentinel) {
			continue
		}
		if st == nil {
			st = status.New(row.code, message)
		}
		info := &errdetails.ErrorInfo{Reason: row.reason, Domain: ErrorDomain}
		if row.fields != nil {
			info.Metadata = row.fields(err)
			for name, value := range info.Metadata {
				info.Metadata[name] = strings.ToValidUTF8(value, "\uFFFD")
			}
		}
		if with, detailErr := st.WithDetails(info); detailErr == nil {
			st = with
		}
	}
	switch wrapped, isStatus := status.FromError(err); {
	case st != nil:
	case isStatus:
		st = wrapped
	case errors.Is(err, context.DeadlineExceeded):
		st = status.New(codes.DeadlineExceeded, message)
	case errors.Is(err, context.Canceled):
		st = status.New(codes.Canceled, message)
	default:
		st = status.New(codes.Unknown, message)
	}
	return st.Err()
}

// FromError gives back the error that Error was given, as far as it can be
// known: errors.Is and errors.As find its sentinels and typed errors, and its
// message is the sender's own. DeadlineExceeded and Canceled match the errors
// of package context, whoever made them. Every other status, such as the
// Unavailable of a connection that could not be made, and every error that is
// no status, is returned unchanged.
func FromError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, done := err.(*remoteError); done {
		return err
	}
	st, isStatus := status.FromError(err)
	if !isStatus {
		return err
	}
	var causes []error
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == ErrorDomain {
			causes = append(causes, causesOf(info)...)
		}
	}
	if len(causes) == 0 {
		switch st.Code() {
		case codes.DeadlineExceeded:
			causes = append(causes, context.DeadlineExceeded)
		case codes.Canceled:
			causes = append(causes, context.Canceled)
		default:
			return err
		}
	}
	return &remoteError{status: st, causes: causes}
}

// EncodeError is err as Error makes it, in the form in which an Answer carries it.
func EncodeError(err error) []byte {
	st, _ := status.FromError(Error(err)) // Error makes nothing else
	encoded, err := proto.Marshal(st.Proto())
	if err != nil { // none is: its strings are UTF-8
		return nil
	}
	return encoded
}

// DecodeError gives back the error that EncodeError was given, as FromError does.
func DecodeError(encoded []byte) error {
	st := &spb.Status{}
	if err := proto.Unmarshal(encoded, st); err != nil {
		return fmt.Errorf("the node says in a way that cannot be read why it failed: %w", err)
	}
	if codes.Code(st.Code) == codes.OK {
		return errors.New("the node failed and does not say why")
	}
	return FromError(status.FromProto(st).Err())
}

// Unreachable reports whether err is gRPC's own word for a server that could
// not be reached or that went away in the middle of a call. What happened to
// the request is then unknown. A server that answered, even with NoLease or
// Stopped, which share the code, was reached.
func Unreachable(err error) bool {
	if _, answered := errors.AsType[*remoteError](err); answered {
		return false
	}
	return status.Code(err) == codes.Unavailable
}

// causesOf gives the sentinel or typed error of one ErrorInfo; nothing for a
// reason that only a newer build knows.
func causesOf(info *errdetails.ErrorInfo) []error {
	for _, row := range errorTable {
		if row.reason != info.Reason {
			continue
		}
		if row.typed != nil && len(info.Metadata) > 0 {
			if typed, err := row.typed(info.Metadata); err == nil {
				return []error{typed}
			}
		}
		return []error{row.sentinel}
	}
	return nil
}

// remoteError is an error that came over the wire. It is still a status, so
// that a process that passes it on sends on what it received.
type remoteError struct {
	status *status.Status
	causes []error
}

// Error is the message of the process that failed.
func (e *remoteError) Error() string { return e.status.Message() }

// Unwrap lets errors.Is and errors.As find the causes.
func (e *remoteError) Unwrap() []error { return e.causes }

// GRPCStatus is what was received.
func (e *remoteError) GRPCStatus() *status.Status { return e.status }
