package clustermgr_test

import (
	"testing"

	"github.com/pinetree-db/pinetree/clustermgr/etcdstore"
)

func TestWithItsOwnStore(t *testing.T) { t.Log(etcdstore.New) }
