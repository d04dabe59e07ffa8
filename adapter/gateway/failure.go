package gateway

import (
	"cmp"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// said is what HTTP says of a reason.
type said struct {
	status int // zero is that of the gRPC code
	advice string
}

var byReason = map[string]said{
	"NOT_LEADER":         {http.StatusServiceUnavailable, "No leader was found in time. Try again; clustermgr leader show says why there is none."},
	"NO_LEASE":           {0, "No quorum of the volume's replicas answered. Try again, or read with options.level STALE."},
	"STOPPED":            {0, "A node or a replica is stopping. Try again."},
	"QUEUE_FULL":         {0, "Too much is under way. Wait and try again, or ask another node."},
	"DISK_FULL":          {http.StatusInsufficientStorage, "The nodes' disks are full. Free space on them; reads go on."},
	"OVER_QUOTA":         {http.StatusInsufficientStorage, "Delete keys and compact the history, or raise the volume's setting."},
	"BAD_BATCH":          {0, "The request breaks a rule. Trying again does not help."},
	"UNKNOWN_VOLUME":     {0, "clustermgr volume ls lists the volumes; the path takes a name or an id."},
	"TRUNCATED":          {http.StatusGone, "That history was compacted. Read the keys anew, and watch from the revision of that reading."},
	"NOT_FOUND":          {0, "There is no such thing at that revision."},
	"PRECONDITION":       {http.StatusPreconditionFailed, "The key is not what the request's conditions say. Read it again and decide anew."},
	"CORRUPT":            {0, "A node refused to serve damaged data. Its log says where the damage is."},
	"STALE_COMPUTE_TERM": {0, "A newer writer has replaced this one."},
}

var byCode = map[codes.Code]said{
	codes.InvalidArgument:  {0, "The request could not be read; /openapi.json describes what is taken."},
	codes.Unavailable:      {0, "No node answered. Try again."},
	codes.DeadlineExceeded: {0, "It was not answered in time. Try again; a transaction with an id is carried out once."},
	codes.NotFound:         {0, "/openapi.json lists the paths."},
	codes.Unimplemented:    {http.StatusMethodNotAllowed, "/openapi.json lists the paths and their methods."},
}

// failure is an error as HTTP tells it.
func failure(err error) (*wirepb.MetaFailure, int) {
	st := status.Convert(wirepb.Error(err))
	f := &wirepb.MetaFailure{Code: codeNames[st.Code()], Message: st.Message()}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && f.Reason == "" {
			f.Reason, f.Fields = info.Reason, info.Metadata
		}
	}
	words, known := byReason[f.Reason]
	if !known {
		words = byCode[st.Code()]
	}
	f.Advice = words.advice
	return f, cmp.Or(words.status, runtime.HTTPStatusFromCode(st.Code()))
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	f, code := failure(err)
	answerFailure(w, f, code)
}

func answerFailure(w http.ResponseWriter, f *wirepb.MetaFailure, code int) {
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(f)
	if err != nil {
		http.Error(w, f.Message, code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a client that left is no failure
}

// failRoute answers a path or a method that there is not.
func failRoute(w http.ResponseWriter, r *http.Request, code int) {
	st := status.Newf(codes.NotFound, "there is no path %s", r.URL.Path)
	switch code {
	case http.StatusMethodNotAllowed:
		st = status.Newf(codes.Unimplemented, "%s does not take %s", r.URL.Path, r.Method)
	case http.StatusBadRequest:
		st = status.Newf(codes.InvalidArgument, "the path %s cannot be read", r.URL.Path)
	}
	fail(w, st.Err())
}

// codeNames are gRPC's own names of its codes.
var codeNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS", codes.PermissionDenied: "PERMISSION_DENIED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}
