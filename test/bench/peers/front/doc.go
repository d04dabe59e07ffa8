// Package front lets records reach a replicated log over one connection, raw
// TCP or one bidirectional gRPC stream. It frames them, many to a write or a
// message, queues them on the server within bounds, and gives the client
// cumulative acknowledgements. What commits the records is a Log.
//
// A frame is the length of a record, 4 bytes in little-endian order, and the
// record. Frames go on as they are, to disks and to other servers. The client
// sends frames, the server answers with the number of records that are
// committed so far, 8 bytes in little-endian order.
package front
