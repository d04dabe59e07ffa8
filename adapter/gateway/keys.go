package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// keys serves single keys as plain bytes: the path's rest is the key, the body its
// value. The ETag is the revision of the key's last change, so that If-Match and
// If-None-Match make a write conditional.
type keys struct {
	volumes *volumes
	volume  *volume
}

// revisionHeader is the revision that was read or made.
const revisionHeader = "Pinetree-Revision"

func (k keys) serve(w http.ResponseWriter, r *http.Request, key []byte) {
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		err = k.get(w, r, key)
	case http.MethodPut:
		var value []byte
		if value, err = io.ReadAll(r.Body); err != nil {
			err = fmt.Errorf("%w: the value could not be read: %w", pinetree.ErrBadBatch, err)
			break
		}
		err = k.write(w, r, key, &wirepb.MetaOp{Op: &wirepb.MetaOp_Put{Put: &wirepb.MetaPut{Key: key, Value: value}}})
	case http.MethodDelete:
		err = k.write(w, r, key, &wirepb.MetaOp{Op: &wirepb.MetaOp_Delete{Delete: &wirepb.MetaDelete{Key: key}}})
	default:
		failRoute(w, r, http.StatusMethodNotAllowed)
	}
	if err != nil {
		fail(w, k.volumes.heard(k.volume, err))
	}
}

var levelNames = map[string]pinetree.ReadLevel{
	"": pinetree.ReadDefault, "default": pinetree.ReadDefault, "stale": pinetree.ReadStale, "consistent": pinetree.ReadConsistent,
}

// get reads a key, as ?read= and ?revision= say.
func (k keys) get(w http.ResponseWriter, r *http.Request, key []byte) error {
	query := r.URL.Query()
	level, known := levelNames[query.Get("read")]
	if !known {
		return fmt.Errorf("%w: read=%s; known are default, consistent and stale", pinetree.ErrBadBatch, query.Get("read"))
	}
	q := &wirepb.MetaRangeRequest{Key: key}
	if text := query.Get("revision"); text != "" {
		var err error
		if q.Revision, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("%w: revision=%s is no number", pinetree.ErrBadBatch, text)
		}
	}
	answer, err := k.volume.calls.MetaRange(r.Context(), ship.ReadConfig{Level: level}, q)
	if err != nil {
		return err
	}
	w.Header().Set(revisionHeader, strconv.FormatUint(answer.Revision, 10))
	if len(answer.Items) == 0 {
		return fmt.Errorf("%w: key %q is not there at revision %d", pinetree.ErrNotFound, key, answer.Revision)
	}
	item := answer.Items[0]
	w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(item.Modified, 10)))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(item.Value)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(item.Value) // a client that left is no failure
	}
	return nil
}

// write changes a key when it is as the request's headers say.
func (k keys) write(w http.ResponseWriter, r *http.Request, key []byte, op *wirepb.MetaOp) error {
	q := &wirepb.MetaTxnRequest{Then: []*wirepb.MetaOp{op}}
	var err error
	if q.Compares, err = conditions(r.Header, key); err != nil {
		return err
	}
	answer, err := k.volume.calls.MetaTxn(r.Context(), q)
	if err != nil {
		return err
	}
	w.Header().Set(revisionHeader, strconv.FormatUint(answer.Revision, 10))
	switch {
	case !answer.Succeeded:
		f, _ := failure(errors.New("the key is not as If-Match or If-None-Match wants it; nothing was changed"))
		f.Code, f.Reason = "FAILED_PRECONDITION", "PRECONDITION"
		f.Advice = byReason[f.Reason].advice
		answerFailure(w, f, byReason[f.Reason].status)
	case op.GetDelete() != nil && answer.Results[0].GetDeleted() == 0:
		return fmt.Errorf("%w: key %q was not there", pinetree.ErrNotFound, key)
	default:
		if op.GetPut() != nil {
			w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(answer.Revision, 10)))
		}
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// conditions are what If-Match and If-None-Match say of the key.
func conditions(h http.Header, key []byte) ([]*wirepb.MetaCompare, error) {
	var all []*wirepb.MetaCompare
	for _, c := range []struct {
		header     string
		tag, every wirepb.MetaCompare_Result // what an ETag means, and what * does
	}{
		{"If-Match", wirepb.MetaCompare_EQUAL, wirepb.MetaCompare_GREATER},
		{"If-None-Match", wirepb.MetaCompare_NOT_EQUAL, wirepb.MetaCompare_EQUAL},
	} {
		text := h.Get(c.header)
		compare := &wirepb.MetaCompare{Key: key, Target: wirepb.MetaCompare_MODIFIED}
		switch {
		case text == "":
			continue
		case text == "*":
			compare.Result = c.every // than revision zero, which is that of a key that is not there
		default:
			revision, err := strconv.ParseUint(strings.Trim(text, `"`), 10, 64)
			if err != nil || revision == 0 {
				return nil, fmt.Errorf("%w: %s: %s is neither * nor one ETag of a key, such as \"17\"", pinetree.ErrBadBatch, c.header, text)
			}
			compare.Result, compare.Number = c.tag, revision
		}
		all = append(all, compare)
	}
	return all, nil
}
