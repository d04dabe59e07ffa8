package database

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// place is where in the value log a value is: in a file, by its number, from an
// offset on.
type place struct {
	file   uint32
	offset uint32
}

// placed is a key and the place of its value, and what it takes there in bytes.
type placed struct {
	key  []byte
	at   place
	size int64
}

// placeOf tells where the value of an item is, and false when it is in a table,
// beside its key. Badger tells nobody.
func placeOf(item *badger.Item) (place, bool) {
	const inValueLog = 1 << 1
	at := unsafe.Pointer(item)
	if *(*byte)(unsafe.Add(at, itemFields.meta))&inValueLog == 0 {
		return place{}, false
	}
	// The number of the file, the length, the offset; four bytes each, as the machine
	// has them.
	pointer := *(*[]byte)(unsafe.Add(at, itemFields.pointer))
	return place{binary.NativeEndian.Uint32(pointer), binary.NativeEndian.Uint32(pointer[8:])}, true
}

// itemFields is where in an item of badger's its fields begin.
var itemFields = struct{ meta, pointer uintptr }{
	fieldOf[badger.Item, byte]("meta"), fieldOf[badger.Item, []byte]("vptr"),
}

// fieldOf is where in S its field begins. That it is there and of type T is sure
// for one version of badger: so the program does not start with another.
func fieldOf[S, T any](name string) uintptr {
	f, is := reflect.TypeFor[S]().FieldByName(name)
	if !is || f.Type != reflect.TypeFor[T]() {
		panic(fmt.Sprintf("this version of badger has no %s of type %s in its %s", name, reflect.TypeFor[T](), reflect.TypeFor[S]()))
	}
	return f.Offset
}

// valueFile is a file of the value log.
type valueFile struct {
	number uint32
	size   int64
}

// valueFiles lists those in the directory, the oldest first.
func (d *DB) valueFiles() ([]valueFile, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var files []valueFile
	for _, entry := range entries {
		name, is := strings.CutSuffix(entry.Name(), ".vlog")
		if !is {
			continue
		}
		number, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s in %s is not the name of a file of badger's", entry.Name(), d.dir)
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, valueFile{uint32(number), info.Size()})
	}
	slices.SortFunc(files, func(a, b valueFile) int { return cmp.Compare(a.number, b.number) })
	return files, nil
}

// newestValueFile is the one that badger writes to; zero when there is none.
func (d *DB) newestValueFile() (uint32, error) {
	files, err := d.valueFiles()
	if err != nil || len(files) == 0 {
		return 0, err
	}
	return files[len(files)-1].number, nil
}

// closedValueFiles lists those that are not written to and not deleted soon.
func (d *DB) closedValueFiles() ([]valueFile, error) {
	files, err := d.valueFiles()
	if err != nil || len(files) == 0 {
		return nil, err
	}
	d.hidden.filesLock.RLock()
	defer d.hidden.filesLock.RUnlock()
	return slices.DeleteFunc(files[:len(files)-1], func(f valueFile) bool { return slices.Contains(*d.hidden.doomed, f.number) }), nil
}

func (d *DB) valueFilePath(number uint32) string {
	return filepath.Join(d.dir, fmt.Sprintf("%06d.vlog", number))
}

const (
	// valueFileHeader is what a file of the value log begins with, in bytes.
	valueFileHeader = 20
	// valueEnd is the checksum behind each value, and keyEnd the timestamp at the end
	// of its key.
	valueEnd, keyEnd = 4, 8
	// valueHead is the most that comes before a key: two bytes of flags and three
	// numbers.
	valueHead = 2 + 5 + 5 + 10
)

// errNoEntry is why a file of the value log cannot be read to its end, as one that a
// power cut has left with a hole.
var errNoEntry = errors.New("what is there is no value")

// eachValue calls fn for the values in a file of the value log, in order, with keys
// that are fn's only during the call. It reads the keys and steps over the values.
func eachValue(path string, file valueFile, fn func(placed) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 512)
	for at := int64(valueFileHeader); at < file.size; {
		n, _ := f.ReadAt(buf[:min(int64(len(buf)), file.size-at)], at)
		head, keyBytes, valueBytes := valueHeadOf(buf[:n])
		size := head + keyBytes + valueBytes + valueEnd
		if head == 0 || keyBytes <= keyEnd || at+size > file.size {
			return fmt.Errorf("%s at %d: %w", path, at, errNoEntry)
		}
		if head+keyBytes > int64(len(buf)) {
			buf = make([]byte, head+keyBytes)
		}
		if int64(n) < head+keyBytes {
			if _, err := f.ReadAt(buf[:head+keyBytes], at); err != nil {
				return err
			}
		}
		if err := fn(placed{buf[head : head+keyBytes-keyEnd], place{file.number, uint32(at)}, size}); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// valueHeadOf reads what comes before a key; head is zero when it is damaged.
func valueHeadOf(b []byte) (head, keyBytes, valueBytes int64) {
	numbers := [3]uint64{}
	if head = 2; len(b) < 2 {
		return 0, 0, 0
	}
	for i := range numbers {
		var n int
		if numbers[i], n = binary.Uvarint(b[head:min(len(b), valueHead)]); n <= 0 {
			return 0, 0, 0
		}
		head += int64(n)
	}
	if numbers[0] > 1<<16 || numbers[1] > 1<<32 {
		return 0, 0, 0
	}
	return head, int64(numbers[0]), int64(numbers[1])
}

// lookup tells where the value of a key is now, and nil when it has none there.
func lookup(txn *badger.Txn, key []byte) (place, *badger.Item, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return place{}, nil, nil
	}
	if err != nil {
		return place{}, nil, err
	}
	at, is := placeOf(item)
	if !is {
		return place{}, nil, nil
	}
	return at, item, nil
}

// livingIn lists the values in a closed file that have a key: one was not deleted,
// and not written elsewhere since.
func (d *DB) livingIn(file valueFile, pause func() error) (living []placed, err error) {
	defer d.panicIsDamage(&err)
	txn := d.badger.NewTransactionAt(newest, false)
	defer txn.Discard()
	looked := 0
	err = eachValue(d.valueFilePath(file.number), file, func(v placed) error {
		if looked++; looked%256 == 0 {
			if err := pause(); err != nil {
				return err
			}
		}
		at, _, err := lookup(txn, v.key)
		if err == nil && at == v.at {
			v.key = bytes.Clone(v.key)
			living = append(living, v)
		}
		return err
	})
	if errors.Is(err, errNoEntry) {
		d.log.Info("looking through all keys for values in a file that cannot be read to its end", "reason", err)
		return d.keysInto(file.number, pause)
	}
	return living, err
}

// keysInto lists the values in a file by going through all keys.
func (d *DB) keysInto(file uint32, pause func() error) (living []placed, err error) {
	err = d.scan(nil, func(it iterator) error {
		looked := 0
		for it.Seek(nil); it.Valid(); it.Next() {
			if looked++; looked%4096 == 0 {
				if err := pause(); err != nil {
					return err
				}
			}
			if at, is := placeOf(it.Item()); is && at.file == file {
				living = append(living, placed{bytes.Clone(it.Key()), at, it.Item().ValueSize()})
			}
		}
		return nil
	})
	return living, err
}
