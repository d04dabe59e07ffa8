package benchverbs

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/benchcompare"
)

// measuring lets the nodes of a load have an engine that keeps nothing.
func measuring(engine string, load *bench.Config) {
	if backends.KeepsNothing(engine) {
		load.NodeArgs = append(slices.Clip(load.NodeArgs), "--measuring")
	}
}

// runCompare puts one load on clusters with several engines.
func (f *shipFlags) runCompare(cmd *cobra.Command, load bench.Config) error {
	cfg := benchcompare.Config{Load: load, Engines: f.compare, Rounds: f.rounds, With: measuring, Say: load.Say}
	result, err := benchcompare.Run(cmd.Context(), cfg, bench.Run)
	if err != nil {
		return err
	}
	if !f.json {
		return result.Print(cmd.OutOrStdout())
	}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), string(line))
	return err
}
