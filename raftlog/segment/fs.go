package segment

import "github.com/pinetree-db/pinetree/disk"

// FS is the directory that a store is in.
type FS = disk.FS

// File is an open file of it.
type File = disk.File
