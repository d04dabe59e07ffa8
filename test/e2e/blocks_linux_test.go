package e2e

import (
	"io/fs"
	"syscall"
)

// blocks is how much room a file takes on its disk.
func blocks(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
