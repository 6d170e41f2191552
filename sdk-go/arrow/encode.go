package arrow

import (
	"dataflare.dev/sdk-go/internal/ipc"
	"dataflare.dev/sdk-go/internal/types"
)

// appendStream adds columns as a stream with one batch.
func appendStream(dst []byte, schema types.Schema, columns []*Array, length int) []byte {
	dst = ipc.AppendSchema(dst, schema)
	w := &writing{}
	for _, column := range columns {
		w.array(column)
	}
	for id, each := range w.dictionaries {
		inner := &writing{}
		inner.array(each)
		inner.data.ID, inner.data.Length = int64(id), each.len
		dst = ipc.AppendDictionary(dst, inner.data)
	}
	w.data.Length = length
	return ipc.End(ipc.AppendData(dst, w.data))
}

// writing gathers the nodes and buffers of arrays, depth first.
type writing struct {
	data         ipc.Data
	dictionaries []*Array
}

func (w *writing) buffer(content []byte) { w.data.Buffers = append(w.data.Buffers, content) }

func (w *writing) array(a *Array) {
	w.data.Nodes = append(w.data.Nodes, ipc.Node{Length: a.len, Nulls: a.nulls})
	kind := a.kind.Kind
	if kind == types.Null {
		return
	}
	if a.nulls > 0 {
		w.buffer(a.valid[:(a.len+7)/8])
	} else {
		w.buffer(nil)
	}
	switch kind {
	case types.Bool:
		w.buffer(a.data[:(a.len+7)/8])
	case types.String, types.Binary, types.LargeString, types.LargeBinary:
		w.offsets(a)
		w.buffer(a.data[:a.offset(a.len)])
	case types.StringView, types.BinaryView:
		w.buffer(a.data[:16*a.len])
		for _, buffer := range a.buffers {
			w.buffer(buffer)
		}
		w.data.Variadic = append(w.data.Variadic, len(a.buffers))
	case types.List, types.LargeList:
		w.offsets(a)
		w.array(a.children[0])
	case types.FixedList:
		w.array(a.children[0])
	case types.Map:
		w.offsets(a)
		w.data.Nodes = append(w.data.Nodes, ipc.Node{Length: a.children[0].len})
		w.buffer(nil)
		w.array(a.children[0])
		w.array(a.children[1])
	case types.Struct:
		for _, child := range a.children {
			w.array(child)
		}
	case types.Dictionary:
		w.buffer(a.data[:a.len*widthOf(a.kind)])
		w.dictionaries = append(w.dictionaries, a.children[0])
	default:
		w.buffer(a.data[:a.len*widthOf(a.kind)])
	}
}

func (w *writing) offsets(a *Array) {
	size := 4
	if a.wide {
		size = 8
	}
	w.buffer(a.offsets[:(a.len+1)*size])
}
