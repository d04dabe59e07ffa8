// Package footprint tells as metrics what folders take on the disk, as du counts
// it. It knows files and nothing of what is in them.
package footprint

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// blockBytes is the unit in which file systems tell what a file takes.
const blockBytes = 512

var bytes = prometheus.NewDesc("pinetree_disk_used_bytes",
	"What the files of a folder of the node take on the disk; files may be longer than what is in them.", []string{"folder"}, nil)

// Collector has a gauge of each folder, by the name that it is to have. Files are
// looked at whenever the metrics are asked for. A folder that cannot be read is left
// out.
func Collector(folders map[string]string) prometheus.Collector { return collector(folders) }

type collector map[string]string

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) { to <- bytes }

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	for name, dir := range c {
		if used, err := Used(dir); err == nil {
			to <- prometheus.MustNewConstMetric(bytes, prometheus.GaugeValue, float64(used), name)
		}
	}
}

// Used is how many bytes the files of a directory and those below it take on the disk.
// What is removed meanwhile counts or does not.
func Used(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
			total += stat.Blocks * blockBytes
		}
		return nil
	})
	return total, err
}
