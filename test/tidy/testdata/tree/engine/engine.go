// Package engine holds interfaces and parameters.
package engine

import "io"

// Six methods and Close.
type Six interface {
	A()
	B()
	C()
	D()
	E()
	F(lo uint64, n int, hi uint32)
	Close() error
}

// Seven has one too many.
type Seven interface {
	Six
	G()
}

// Closing has six and io.Closer.
type Closing interface {
	Six
	io.Closer
}

// Foreign counts six and one.
type Foreign interface {
	Six
	io.Reader
}

// New takes two integers of one type under two names.
func New(a byte, name string, b uint8) func(i, j int) bool {
	return func(i, j int) bool { return i < j && a < b }
}

// Span takes no bare integer twice.
func Span(from, to LSN, n int, more ...int) {}
