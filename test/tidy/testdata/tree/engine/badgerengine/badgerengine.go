// Command badgerengine is no command.
package badgerengine

import (
	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/memengine"
)

var _ = []any{badger.Open, memengine.New, enginetest.Run}
