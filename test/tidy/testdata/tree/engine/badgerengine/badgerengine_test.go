package badgerengine

import (
	"testing"

	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/logservice"
	"github.com/pinetree-db/pinetree/test/faults"
)

func TestSuite(t *testing.T) { t.Log(enginetest.Run, logservice.New, faults.New) }
