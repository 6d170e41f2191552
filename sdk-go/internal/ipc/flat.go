// Package ipc reads and writes the messages of the Arrow IPC format.
package ipc

import (
	"encoding/binary"
	"errors"
	"slices"
)

var errMessage = errors.New("a message is damaged")

// caught turns the reader's panics over damaged bytes into an error.
func caught(err *error) {
	if recovered := recover(); recovered != nil {
		failed, ok := recovered.(error)
		if !ok || !errors.Is(failed, errMessage) {
			panic(recovered)
		}
		*err = failed
	}
}

// table reads a table of a flatbuffer. Reads outside of the buffer panic with errMessage.
type table struct {
	buf []byte
	at  int
}

func need(buf []byte, at, size int) []byte {
	if at < 0 || size < 0 || at > len(buf)-size {
		panic(errMessage)
	}
	return buf[at : at+size]
}

func u16(buf []byte, at int) int { return int(binary.LittleEndian.Uint16(need(buf, at, 2))) }
func u32(buf []byte, at int) int { return int(binary.LittleEndian.Uint32(need(buf, at, 4))) }
func i32(buf []byte, at int) int { return int(int32(binary.LittleEndian.Uint32(need(buf, at, 4)))) }

func root(buf []byte) table { return table{buf, u32(buf, 0)} }

// slot is where a field stands; 0: it has its default.
func (t table) slot(field int) int {
	vtable := t.at - i32(t.buf, t.at)
	size := u16(t.buf, vtable)
	entry := 4 + 2*field
	if entry+2 > size {
		return 0
	}
	offset := u16(t.buf, vtable+entry)
	if offset == 0 {
		return 0
	}
	return t.at + offset
}

func (t table) bool(field int) bool { return t.byte(field) != 0 }

func (t table) byte(field int) byte {
	if at := t.slot(field); at != 0 {
		return need(t.buf, at, 1)[0]
	}
	return 0
}

func (t table) short(field, otherwise int) int {
	if at := t.slot(field); at != 0 {
		return int(int16(u16(t.buf, at)))
	}
	return otherwise
}

func (t table) int(field, otherwise int) int {
	if at := t.slot(field); at != 0 {
		return i32(t.buf, at)
	}
	return otherwise
}

func (t table) long(field int) int64 {
	if at := t.slot(field); at != 0 {
		return int64(binary.LittleEndian.Uint64(need(t.buf, at, 8)))
	}
	return 0
}

func (t table) table(field int) (table, bool) {
	at := t.slot(field)
	if at == 0 {
		return table{}, false
	}
	return table{t.buf, at + u32(t.buf, at)}, true
}

func (t table) text(field int) string {
	at, count := t.vector(field, 1)
	return string(need(t.buf, at, count))
}

// vector is where the items of a vector begin and how many there are.
func (t table) vector(field, size int) (at, count int) {
	slot := t.slot(field)
	if slot == 0 {
		return 0, 0
	}
	start := slot + u32(t.buf, slot)
	count = u32(t.buf, start)
	if count > len(t.buf)/size {
		panic(errMessage)
	}
	need(t.buf, start+4, count*size)
	return start + 4, count
}

func (t table) tables(field int) []table {
	at, count := t.vector(field, 4)
	found := make([]table, count)
	for i := range found {
		place := at + 4*i
		found[i] = table{t.buf, place + u32(t.buf, place)}
	}
	return found
}

// builder writes a flatbuffer from front to back: a table, then what it refers to.
type builder struct{ buf []byte }

// field is one field of a table that is written: a number, or something behind it.
type field struct {
	slot  int
	size  int // bytes of a number; 0: a reference
	value uint64
	child func() int // writes what is referred to, gives where it begins
}

func (b *builder) align(to int) {
	for len(b.buf)%to != 0 {
		b.buf = append(b.buf, 0)
	}
}

// table writes one, and gives where it begins.
func (b *builder) table(fields ...field) int {
	slots := 0
	for _, each := range fields {
		slots = max(slots, each.slot+1)
	}
	inline := slices.Clone(fields)
	slices.SortStableFunc(inline, func(a, c field) int { return c.width() - a.width() })
	// The table begins so that fields of eight bytes, right behind its first word, are aligned.
	for (len(b.buf)+4+2*slots+4)%8 != 0 {
		b.buf = append(b.buf, 0)
	}
	vtable := len(b.buf)
	at := vtable + 4 + 2*slots
	b.buf = append(b.buf, make([]byte, 4+2*slots+4)...)
	binary.LittleEndian.PutUint16(b.buf[vtable:], uint16(4+2*slots))
	binary.LittleEndian.PutUint32(b.buf[at:], uint32(at-vtable))
	places := make([]int, len(inline))
	for i, each := range inline {
		b.align(each.width())
		places[i] = len(b.buf)
		binary.LittleEndian.PutUint16(b.buf[vtable+4+2*each.slot:], uint16(len(b.buf)-at))
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], each.value)
		b.buf = append(b.buf, word[:each.width()]...)
	}
	binary.LittleEndian.PutUint16(b.buf[vtable+2:], uint16(len(b.buf)-at))
	for i, each := range inline {
		if each.child != nil {
			b.refer(places[i], each.child())
		}
	}
	return at
}

func (f field) width() int {
	if f.child != nil {
		return 4
	}
	return f.size
}

func (b *builder) refer(place, target int) {
	binary.LittleEndian.PutUint32(b.buf[place:], uint32(target-place))
}

func (b *builder) text(text string) int {
	b.align(4)
	at := len(b.buf)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(len(text)))
	b.buf = append(b.buf, text...)
	b.buf = append(b.buf, 0)
	return at
}

func (b *builder) tables(count int, write func(i int) int) int {
	b.align(4)
	at := len(b.buf)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(count))
	b.buf = append(b.buf, make([]byte, 4*count)...)
	for i := range count {
		b.refer(at+4+4*i, write(i))
	}
	return at
}

// longs writes a vector of structs of numbers of eight bytes each.
func (b *builder) longs(count int, words []int64) int {
	for (len(b.buf)+4)%8 != 0 {
		b.buf = append(b.buf, 0)
	}
	at := len(b.buf)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(count))
	for _, word := range words {
		b.buf = binary.LittleEndian.AppendUint64(b.buf, uint64(word))
	}
	return at
}
