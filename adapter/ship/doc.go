// Package ship is the client of Pinetree: it finds a volume's replicas through
// the cluster managers, follows its leader, ships redo records (Writer) and
// reads pages, keys and the log back (Reader). It knows how to find, wait,
// resend and ask again; it does not know what a record's payload means.
package ship
