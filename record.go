package pinetree

// Record is one step of a volume's redo log: it covers the positions
// (Prev, LSN] and follows directly after the record that ended at Prev.
type Record struct {
	Prev, LSN LSN
	Payload   []byte
}

// Batch is a run of neighbouring records shipped together: the unit of CRC, of
// raft entry and of disk frame. Its Encoded form is made once by the writer
// (storepb.EncodeBatch) and is carried unchanged to every disk and reader; the
// other fields are read from it.
type Batch struct {
	Volume  VolumeID
	Term    ComputeTerm
	Prev    LSN // end of the record before the first one
	LSN     LSN // end of the last record
	Count   int // number of records, at least one
	Encoded []byte
}

// Size is the number of bytes that the batch takes wherever it is kept.
func (b Batch) Size() int { return len(b.Encoded) }
