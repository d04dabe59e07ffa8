// Package metaclient reads, changes and watches the metadata of a volume, over a
// client of adapter/ship, which finds the nodes. A transaction is carried out
// once, though it may have to be sent several times; a watch goes on at another
// replica where it was, without gap or repetition. Calls has the messages of the
// wire, Client the types of package meta. It knows nothing of what keys and values
// mean.
package metaclient
