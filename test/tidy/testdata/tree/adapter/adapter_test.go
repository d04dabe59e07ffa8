package adapter_test

import (
	"os"
	"testing"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
)

func TestTwelveLines(t *testing.T) {
	t.Log(
		1,
		2,
		3,
		4,
		5,
		6,
		7,
	)
	t.Log(rapid.Check, engine.New, memengine.New, os.Args, porcupine.Ok)
}

func TestThirteenLines(t *testing.T) {
	t.Log(
		1,
		2,
		3,
		4,
		5,
		6,
		7,
		8,
	)
	t.Log()
}
