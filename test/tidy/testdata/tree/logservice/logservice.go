// Package logservice picks a backend, which is not its business.
package logservice

import (
	"testing"

	"example.com/unheard/of"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/clustermgr"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// New is fine.
func New() []any {
	return []any{testing.Short, of.It, grpc.Version, clustermgr.New, memengine.New, group.New}
}
