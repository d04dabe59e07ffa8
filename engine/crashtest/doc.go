// Package crashtest ends the processes of engines, by kills, power cuts and at
// any operation on the disk, and looks at what is left. It knows how a backend
// is opened and nothing else of it; its histories are those of enginetest.
package crashtest
