// Package files keeps many files of one directory for a store that writes them
// once and reads them often: it bounds how many of them are open, syncs what was
// written before its handle is closed, and removes a file when nobody reads it
// any more. It knows nothing of what is in the files, and reaches the disk only
// through disk.FS.
package files
