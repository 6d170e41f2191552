package arrow

import (
	"encoding/binary"
	"fmt"
	"math"

	"dataflare.dev/sdk-go/internal/types"
)

// builder makes an array value by value.
type builder struct {
	kind     types.Type
	len      int
	nulls    int
	valid    []byte
	data     []byte
	offsets  []byte
	wide     bool
	children []*builder
	places   map[string]int // of values in a dictionary
}

func newBuilder(kind types.Type) *builder {
	b := &builder{kind: kind}
	b.wide = kind.Kind == types.LargeString || kind.Kind == types.LargeBinary || kind.Kind == types.LargeList
	if b.hasOffsets() {
		b.endOffset(0)
	}
	for _, column := range kind.Columns {
		b.children = append(b.children, newBuilder(column.Type))
	}
	return b
}

func (b *builder) hasOffsets() bool {
	switch b.kind.Kind {
	case types.String, types.Binary, types.LargeString, types.LargeBinary, types.List, types.LargeList, types.Map:
		return true
	}
	return false
}

func (b *builder) endOffset(at int) {
	if b.wide {
		b.offsets = binary.LittleEndian.AppendUint64(b.offsets, uint64(at))
	} else {
		b.offsets = binary.LittleEndian.AppendUint32(b.offsets, uint32(at))
	}
}

// mark says of the next value whether it is there.
func (b *builder) mark(there bool) {
	if !there && b.valid == nil {
		b.valid = make([]byte, b.len/8+1, max(b.len/4, 64))
		for i := range b.len {
			b.valid[i>>3] |= 1 << (i & 7)
		}
	}
	if b.valid != nil {
		for len(b.valid) <= b.len>>3 {
			b.valid = append(b.valid, 0)
		}
		if there {
			b.valid[b.len>>3] |= 1 << (b.len & 7)
		}
	}
	if !there {
		b.nulls++
	}
	b.len++
}

// null adds one.
func (b *builder) null() {
	b.mark(false)
	switch k := b.kind.Kind; {
	case k == types.Bool:
		b.growBits()
	case k == types.Struct:
		for _, child := range b.children {
			child.null()
		}
	case k == types.FixedList:
		for range b.kind.Width {
			b.children[0].null()
		}
	case b.hasOffsets():
		b.endOffset(b.end())
	default:
		b.data = append(b.data, make([]byte, widthOf(b.kind))...)
	}
}

// end is where the texts or items that were added end.
func (b *builder) end() int {
	if len(b.children) > 0 {
		return b.children[0].len
	}
	return len(b.data)
}

func (b *builder) growBits() {
	for len(b.data) <= (b.len-1)>>3 {
		b.data = append(b.data, 0)
	}
}

func (b *builder) bool(set bool) {
	b.mark(true)
	b.growBits()
	if set {
		b.data[(b.len-1)>>3] |= 1 << ((b.len - 1) & 7)
	}
}

// whole adds an integer, or the count of a date or time.
func (b *builder) whole(n int64) {
	b.mark(true)
	little := binary.LittleEndian
	switch widthOf(b.kind) {
	case 1:
		b.data = append(b.data, byte(n))
	case 2:
		b.data = little.AppendUint16(b.data, uint16(n))
	case 4:
		b.data = little.AppendUint32(b.data, uint32(n))
	case 8:
		b.data = little.AppendUint64(b.data, uint64(n))
	}
}

func (b *builder) float(n float64) {
	b.mark(true)
	switch b.kind.Kind {
	case types.Float16:
		b.data = binary.LittleEndian.AppendUint16(b.data, toHalf(n))
	case types.Float32:
		b.data = binary.LittleEndian.AppendUint32(b.data, math.Float32bits(float32(n)))
	default:
		b.data = binary.LittleEndian.AppendUint64(b.data, math.Float64bits(n))
	}
}

func (b *builder) text(text string) {
	b.mark(true)
	b.data = append(b.data, text...)
	b.endOffset(len(b.data))
}

// value adds a value of any Go type that fits, as Row.Set takes it.
func (b *builder) value(given any) error {
	if given == nil {
		b.null()
		return nil
	}
	misfit := func() error { return fmt.Errorf("%v (%T) is no value of the type %s", given, given, b.kind) }
	switch k := b.kind.Kind; {
	case k == types.Null:
		b.null()
	case k == types.Bool:
		set, ok := given.(bool)
		if !ok {
			return misfit()
		}
		b.bool(set)
	case k.IsInteger():
		n, ok := wholeOf(given)
		if !ok || !inRange(n, given, k) {
			return misfit()
		}
		b.whole(n)
	case k.IsFloat():
		n, ok := floatOf(given)
		if !ok {
			return misfit()
		}
		b.float(n)
	case k.IsDecimal():
		text, ok := decimalOf(given)
		if !ok {
			return misfit()
		}
		data, err := appendDecimal(b.data, text, widthOf(b.kind), b.kind.Precision, b.kind.Scale)
		if err != nil {
			return err
		}
		b.mark(true)
		b.data = data
	case k.IsText(), k.IsBinary():
		text, ok := textOf(given, k)
		if !ok || k == types.FixedBinary && len(text) != b.kind.Width {
			return misfit()
		}
		if k == types.FixedBinary {
			b.mark(true)
			b.data = append(b.data, text...)
			return nil
		}
		if k == types.StringView || k == types.BinaryView {
			b.view(text)
			return nil
		}
		b.text(text)
	case k == types.Dictionary:
		return b.encode(given)
	case k == types.Struct, k == types.Map, k.IsList():
		return b.nested(given, misfit)
	default:
		n, ok := b.moment(given)
		if !ok {
			return misfit()
		}
		b.whole(n)
	}
	return nil
}

func (b *builder) view(text string) {
	b.mark(true)
	var view [16]byte
	binary.LittleEndian.PutUint32(view[:], uint32(len(text)))
	if len(text) <= 12 {
		copy(view[4:], text)
	} else {
		copy(view[4:8], text)
		binary.LittleEndian.PutUint32(view[12:], uint32(len(b.offsets)))
		b.offsets = append(b.offsets, text...) // a column of views has no offsets: here is its one buffer
	}
	b.data = append(b.data, view[:]...)
}

// done is the array.
func (b *builder) done() *Array {
	a := &Array{kind: b.kind, len: b.len, nulls: b.nulls, valid: b.valid, data: b.data, offsets: b.offsets, wide: b.wide}
	if b.kind.Kind == types.StringView || b.kind.Kind == types.BinaryView {
		a.buffers, a.offsets = [][]byte{b.offsets}, nil
	}
	for _, child := range b.children {
		a.children = append(a.children, child.done())
	}
	return a
}
