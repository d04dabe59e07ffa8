package frame

// Frame is a good frame in a file.
type Frame struct {
	header
	At   Place
	Size int
	head []byte
	data []byte
	// Change is what a frame of any kind but a checkpoint does.
	Change Change
	// States are the groups of a checkpoint frame, and Last tells whether it is
	// the last of the checkpoint's frames.
	States []State
	Last   bool
	// Senseless is what is wrong with it although its checksums are right, or
	// "".
	Senseless string
}

// Walk calls visit with each good frame of a segment's contents, in order. It
// returns where they end, and what is wrong with the frame that should be
// there: empty when the contents end there, too. An error is visit's own.
func Walk(data []byte, segment uint64, visit func(Frame) error) (end int64, wrong string, err error) {
	if _, wrong := ReadFileHeader(data, segment); wrong != "" {
		return 0, wrong, nil
	}
	end = FileHeaderBytes
	for end < int64(len(data)) {
		f, wrong := readFrame(data[end:], Place{segment, end})
		switch {
		case wrong != "":
		case f.Kind == Checkpoint:
			if f.States, f.Last, f.Senseless = decodeCheckpoint(f.head); len(f.data) > 0 {
				f.Senseless = "data after a checkpoint"
			}
		default:
			if f.Change, f.Senseless = decodeChange(f); f.Senseless == "" {
				wrong = badData(f, f.Change.Slots)
			}
		}
		if wrong != "" {
			return end, wrong, nil
		}
		if err := visit(f); err != nil {
			return end, "", err
		}
		end += int64(f.Size)
	}
	return end, "", nil
}
