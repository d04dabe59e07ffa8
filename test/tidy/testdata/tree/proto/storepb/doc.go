// Package storepb holds generated code, which no budget binds.
package storepb
