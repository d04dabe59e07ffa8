package segment

import (
	"fmt"

	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// mend makes what recovery has read of the newest segment surely durable: it
// writes again what no frame proves synced, since after a failed fsync only
// the page cache may have it. Behind it, every header of this segment's own
// frames is made zeroes: the frames of a torn write must not be found once
// others have been written up to them.
func mend(f *segmentFile, data []byte) error {
	last := frame.Wipe(data, f.at(f.end))
	if f.synced < last {
		if err := f.file.WriteParts([][]byte{data[f.synced:last]}, f.synced); err != nil {
			return fmt.Errorf("mend %s: %w", frame.FileName(f.number), err)
		}
	}
	return f.sync()
}
