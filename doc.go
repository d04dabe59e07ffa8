// Package pinetree holds the nouns of Pinetree, the storage side of a database
// with separated compute and storage: positions, ids, records, batches,
// watermarks and errors. It knows no behaviour, no file format, no network and
// no third-party package.
package pinetree
