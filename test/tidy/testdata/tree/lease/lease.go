package lease

import "golang.org/x/sys/unix"

const (
	Silent  = 1
	Trailed = 2 // Trailed has a comment behind it.
	// Led has a comment before it.
	Led = unix.AF_UNIX
)

// Of a group: the comment of the group is that of its members.
const (
	One = 1
	Two = 2
)

// The pair.
const (
	Left  = 1
	Right = 2
)

// Verdicts.
const (
	Yes = 1
	No  = 2
)

// Single said.
var Single = 1

type (
	Bare    struct{}
	private struct{}
)

// Named.
func Named() {}

// Map is generic.
type Map[K comparable, V any] struct{}

func (m *Map[K, V]) Get() {}
func (p private) Get()    {}
func (Bare) get()         {}
func unexported()         {}
