package crew_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/pinetree-db/pinetree/logservice/crew"
)

func TestCloseEndsAllAndLetsNobodyBegin(t *testing.T) {
	c := crew.New()
	var ended atomic.Int32
	const many = 5
	for range many {
		if !c.Start(func(ctx context.Context) { <-ctx.Done(); ended.Add(1) }) {
			t.Fatal("an open crew took nobody")
		}
	}
	c.Close()
	if n := ended.Load(); n != many {
		t.Errorf("%d of %d had ended when Close returned", n, many)
	}
	if c.Start(func(context.Context) { t.Error("it was run") }) {
		t.Error("a closed crew took somebody")
	}
	c.Close()
}
