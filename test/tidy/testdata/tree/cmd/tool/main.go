// Command tool keeps every rule but one: it imports a test's package.
package main

import (
	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/cmd/tool/flags"
	"github.com/pinetree-db/pinetree/engine/badgerengine"
	"github.com/pinetree-db/pinetree/test/faults"
)

var _ = []any{cobra.Command{}, flags.All, badgerengine.New, faults.New, pgwal.New}

func main() {}
