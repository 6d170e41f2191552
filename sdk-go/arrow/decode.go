package arrow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dataflare.dev/sdk-go/internal/ipc"
	"dataflare.dev/sdk-go/internal/types"
)

var errDamaged = errors.New("a column is damaged")

func damaged(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, a...))
}

// decode reads a stream with one batch, or none.
func decode(part []byte) (*Record, error) {
	stream, err := ipc.ReadStream(part)
	if err != nil {
		return nil, err
	}
	if len(stream.Batches) > 1 {
		return nil, damaged("a part holds %d batches, not one", len(stream.Batches))
	}
	dictionaries := map[int64]ipc.Data{}
	for _, each := range stream.Dictionaries {
		if _, again := dictionaries[each.ID]; again || each.Delta {
			return nil, damaged("a dictionary changes within a stream")
		}
		dictionaries[each.ID] = each
	}
	record := &Record{schema: stream.Schema}
	reader := &reading{ids: stream.IDs, dictionaries: dictionaries}
	if len(stream.Batches) == 1 {
		reader.data, record.len = stream.Batches[0], stream.Batches[0].Length
	}
	for _, column := range stream.Schema.Columns {
		var array *Array
		if len(stream.Batches) == 0 {
			array = newBuilder(column.Type).done()
		} else if array, err = reader.array(column.Type); err != nil {
			return nil, fmt.Errorf("`%s`: %w", column.Name, err)
		} else if array.len != record.len {
			return nil, damaged("`%s` has %d values, the batch %d rows", column.Name, array.len, record.len)
		}
		record.columns = append(record.columns, array)
	}
	return record, nil
}

// reading takes arrays off the nodes and buffers of a batch, depth first.
type reading struct {
	data         ipc.Data
	ids          []int64
	dictionaries map[int64]ipc.Data
}

func (r *reading) node() (ipc.Node, error) {
	if len(r.data.Nodes) == 0 {
		return ipc.Node{}, damaged("there are too few arrays")
	}
	node := r.data.Nodes[0]
	r.data.Nodes = r.data.Nodes[1:]
	if node.Nulls > node.Length {
		return node, damaged("%d of %d values are null", node.Nulls, node.Length)
	}
	return node, nil
}

// buffer is the next one, of at least so many bytes.
func (r *reading) buffer(size int) ([]byte, error) {
	if len(r.data.Buffers) == 0 {
		return nil, damaged("there are too few buffers")
	}
	buffer := r.data.Buffers[0]
	r.data.Buffers = r.data.Buffers[1:]
	if len(buffer) < size {
		return nil, damaged("a buffer has %d bytes, not %d", len(buffer), size)
	}
	return buffer, nil
}

func (r *reading) array(kind types.Type) (*Array, error) {
	node, err := r.node()
	if err != nil {
		return nil, err
	}
	a := &Array{kind: kind, len: node.Length, nulls: node.Nulls}
	if kind.Kind == types.Null {
		a.nulls = a.len
		return a, nil
	}
	least := 0
	if a.nulls > 0 {
		least = (a.len + 7) / 8
	}
	valid, err := r.buffer(least)
	if err != nil {
		return nil, err
	}
	if a.nulls > 0 {
		a.valid = valid
	}
	switch k := kind.Kind; {
	case k == types.Bool:
		a.data, err = r.buffer((a.len + 7) / 8)
	case k == types.String, k == types.Binary:
		err = r.texts(a, false)
	case k == types.LargeString, k == types.LargeBinary:
		err = r.texts(a, true)
	case k == types.StringView, k == types.BinaryView:
		err = r.views(a)
	case k.IsList(), k == types.Map:
		err = r.lists(a)
	case k == types.Struct:
		err = r.fields(a, a.len)
	case k == types.Dictionary:
		err = r.encoded(a)
	case widthOf(kind) > 0 || k == types.FixedBinary:
		a.data, err = r.buffer(a.len * widthOf(kind))
	default:
		err = fmt.Errorf("columns of the type %s are not read here", kind)
	}
	return a, err
}

// offsets reads those of texts and lists: they rise, and end within limit.
func (r *reading) offsets(a *Array, wide bool) (last int, err error) {
	a.wide = wide
	size := 4
	if wide {
		size = 8
	}
	if len(r.data.Buffers) > 0 && len(r.data.Buffers[0]) == 0 && a.len == 0 {
		a.offsets, err = r.buffer(0)
		a.offsets = make([]byte, size)
		return 0, err
	}
	if a.offsets, err = r.buffer((a.len + 1) * size); err != nil {
		return 0, err
	}
	for i := range a.len + 1 {
		var offset uint64
		if wide {
			offset = binary.LittleEndian.Uint64(a.offsets[8*i:])
		} else {
			offset = uint64(binary.LittleEndian.Uint32(a.offsets[4*i:]))
		}
		if offset < uint64(last) || offset > 1<<31-1 {
			return 0, damaged("offsets do not rise")
		}
		last = int(offset)
	}
	return last, nil
}

func (r *reading) texts(a *Array, wide bool) error {
	last, err := r.offsets(a, wide)
	if err == nil {
		a.data, err = r.buffer(last)
	}
	return err
}

func (r *reading) views(a *Array) (err error) {
	if a.data, err = r.buffer(16 * a.len); err != nil {
		return err
	}
	if len(r.data.Variadic) == 0 {
		return damaged("there are too few buffers")
	}
	count := r.data.Variadic[0]
	r.data.Variadic = r.data.Variadic[1:]
	for range count {
		buffer, err := r.buffer(0)
		if err != nil {
			return err
		}
		a.buffers = append(a.buffers, buffer)
	}
	for i := range a.len {
		view := a.data[16*i:]
		length := uint64(binary.LittleEndian.Uint32(view))
		if length <= 12 || a.IsNull(i) {
			continue
		}
		buffer, at := binary.LittleEndian.Uint32(view[8:]), uint64(binary.LittleEndian.Uint32(view[12:]))
		if uint64(buffer) >= uint64(count) || at+length > uint64(len(a.buffers[buffer])) {
			return damaged("a view points outside of its buffers")
		}
	}
	return nil
}

func (r *reading) lists(a *Array) (err error) {
	need := a.len * a.kind.Width
	if a.kind.Kind != types.FixedList {
		if need, err = r.offsets(a, a.kind.Kind == types.LargeList); err != nil {
			return err
		}
	}
	if a.kind.Kind == types.Map {
		entries, err := r.node()
		if err != nil {
			return err
		}
		if _, err := r.buffer(0); err != nil {
			return err
		}
		if entries.Length < need || entries.Nulls > 0 {
			return damaged("a map has too few entries")
		}
		return r.fields(a, entries.Length)
	}
	return r.fields(a, need)
}

// fields reads inner arrays of at least so many values.
func (r *reading) fields(a *Array, least int) error {
	for _, column := range a.kind.Columns {
		child, err := r.array(column.Type)
		if err != nil {
			return err
		}
		if child.len < least {
			return damaged("an inner column has %d values, not %d", child.len, least)
		}
		a.children = append(a.children, child)
	}
	return nil
}

func (r *reading) encoded(a *Array) (err error) {
	if len(r.ids) == 0 {
		return damaged("there are too few dictionaries")
	}
	data, ok := r.dictionaries[r.ids[0]]
	r.ids = r.ids[1:]
	if !ok {
		return damaged("a dictionary is missing")
	}
	if a.data, err = r.buffer(a.len * widthOf(a.kind)); err != nil {
		return err
	}
	inner := &reading{data: data, ids: r.ids, dictionaries: r.dictionaries}
	values, err := inner.array(a.kind.Plain())
	if err != nil {
		return err
	}
	r.ids = inner.ids
	for i := range a.len {
		if at := a.index(i); !a.IsNull(i) && (at < 0 || at >= values.len) {
			return damaged("there is no value %d in a dictionary of %d", at, values.len)
		}
	}
	a.children = []*Array{values}
	return nil
}
