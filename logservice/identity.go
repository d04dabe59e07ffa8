package logservice

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// IdentityFile is the name, within a node's directory, of the file that makes
// the directory one node's for ever: four bytes CRC32C, little endian, of what
// follows, a storepb.NodeIdentity.
const IdentityFile = "identity"

// Identity is who a directory belongs to.
type Identity struct {
	Cluster  string
	Node     pinetree.NodeID
	Instance string // random, made with the directory
}

// ReadIdentity reads the identity of a node's directory. A directory without
// one gives fs.ErrNotExist, a damaged file a *pinetree.CorruptError.
func ReadIdentity(dir string) (Identity, error) {
	path := filepath.Join(dir, IdentityFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, err
	}
	if len(data) < 4 || binary.LittleEndian.Uint32(data) != crc32.Checksum(data[4:], storepb.Castagnoli) {
		return Identity{}, &pinetree.CorruptError{Where: path, What: "its CRC32C is wrong; restore the file, or start the node with an empty directory: it then is a new node"}
	}
	stored := &storepb.NodeIdentity{}
	if err := proto.Unmarshal(data[4:], stored); err != nil {
		return Identity{}, &pinetree.CorruptError{Where: path, What: err.Error()}
	}
	if stored.Node == 0 || stored.Cluster == "" || stored.Instance == "" {
		return Identity{}, &pinetree.CorruptError{Where: path, What: "cluster, node or instance is missing"}
	}
	return Identity{Cluster: stored.Cluster, Node: pinetree.NodeID(stored.Node), Instance: stored.Instance}, nil
}

// writeIdentity stores an identity, durable on return.
func writeIdentity(dir string, id Identity) error {
	message, err := proto.Marshal(&storepb.NodeIdentity{Cluster: id.Cluster, Node: uint64(id.Node), Instance: id.Instance})
	if err != nil {
		return err
	}
	data := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(message, storepb.Castagnoli))
	return replaceFile(filepath.Join(dir, IdentityFile), append(data, message...))
}

// newInstance makes the random name of a new directory.
func newInstance() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", b), nil
}

// replaceFile writes a file such that after a crash either the old or the new
// content is there, and the new one once it returned.
func replaceFile(path string, data []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// known tells whether a directory has an identity.
func known(err error) (bool, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
