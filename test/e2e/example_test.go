package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheExampleSurvivesEveryKill runs the example for database builders as its
// users do. It compares every account with what its clients were told, and ends
// with an error when one is wrong.
func TestTheExampleSurvivesEveryKill(t *testing.T) {
	long(t)
	beside(t)
	limit := time.Minute
	arguments := []string{"--pinetree", binary, "--steps", "2,9"}
	if full() {
		limit = 5 * time.Minute
		arguments = []string{"--pinetree", binary, "--rounds", "5"}
	}
	example := filepath.Join(t.TempDir(), "example")
	if said, err := exec.Command("go", "build", "-o", example, "../../adapter/ship/example").CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, said)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	said, err := exec.CommandContext(ctx, example, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v, and the example said:\n%s", err, said)
	}
	for _, part := range []string{"a transaction shipped, not acknowledged", "knows of nothing", "none unknown", "none half"} {
		if !strings.Contains(string(said), part) {
			t.Errorf("the example never said %q; it said:\n%s", part, said)
		}
	}
}
