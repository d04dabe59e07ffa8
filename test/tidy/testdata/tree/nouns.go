// Package pinetree is a root package that is not pure and not plain.
package pinetree

import (
	"fmt"
	"sync"

	"google.golang.org/grpc"
)

// LSN is commented and fine.
type LSN uint64

// Wait is commented, and what it does is another rule's business.
func Wait(m *sync.Mutex) { fmt.Println(m, grpc.Version) }
