// Package arrow lets a plugin's batches travel as Arrow, and gives their columns to those who work by column.
//
// Importing it is enough for components of rows: they then read and write Arrow where the host offers it, which costs
// both sides a fraction of JSON.
//
//	import _ "dataflare.dev/sdk-go/arrow"
//
// It reads and writes null, bool, integers, floats (16 to 64 bits), decimals (32 to 256 bits), text and binary (plain,
// large, views, fixed size), dates, times, timestamps, durations, lists (plain, large, fixed size), structs, maps and
// dictionaries. It does not know intervals, unions, run-end encoding, list views and compressed buffers.
package arrow

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
	"unsafe"

	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

// Array is the values of one column.
type Array struct {
	kind     types.Type
	len      int
	nulls    int
	valid    []byte // a bit each; nil: none is null
	data     []byte // values of fixed width, bits, bytes of texts, views
	offsets  []byte // of texts, lists, maps
	wide     bool   // the offsets have 8 bytes
	buffers  [][]byte
	children []*Array // items, fields, entries, the values of a dictionary
}

// Type is the type of the values.
func (a *Array) Type() types.Type { return a.kind }

// Len is how many values there are.
func (a *Array) Len() int { return a.len }

// Nulls is how many of them are null.
func (a *Array) Nulls() int { return a.nulls }

// IsNull tells whether a value is null.
func (a *Array) IsNull(i int) bool {
	return a.kind.Kind == types.Null || a.valid != nil && a.valid[i>>3]>>(i&7)&1 == 0
}

// Number is what a column of numbers can be read as, where its type has the same width.
type Number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Numbers are the values as they stand in memory: of a column of numbers, dates, times of this width. Those that are
// null are any number. They must not be changed.
func Numbers[T Number](a *Array) ([]T, error) {
	size := int(unsafe.Sizeof(*new(T)))
	if widthOf(a.kind) != size || a.kind.Kind.IsFloat() != isFloat[T]() {
		return nil, fmt.Errorf("a column of the type %s has no numbers of %d bytes of that kind", a.kind, size)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(a.data))), a.len), nil
}

func isFloat[T Number]() bool {
	half := 0.5
	return T(half) != 0
}

// Text is a value of a column of texts or bytes, as a text that shares the column's memory; empty for null.
func (a *Array) Text(i int) string {
	if a.IsNull(i) {
		return ""
	}
	content := a.bytes(i)
	return unsafe.String(unsafe.SliceData(content), len(content))
}

// bytes are those of a text or binary, of any layout.
func (a *Array) bytes(i int) []byte {
	switch kind := a.kind.Kind; kind {
	case types.FixedBinary:
		return a.data[i*a.kind.Width : (i+1)*a.kind.Width]
	case types.StringView, types.BinaryView:
		view := a.data[16*i : 16*i+16]
		length := int(binary.LittleEndian.Uint32(view))
		if length <= 12 {
			return view[4 : 4+length]
		}
		buffer, at := binary.LittleEndian.Uint32(view[8:]), int(binary.LittleEndian.Uint32(view[12:]))
		return a.buffers[buffer][at : at+length]
	case types.Dictionary:
		return a.children[0].bytes(a.index(i))
	}
	return a.data[a.offset(i):a.offset(i+1)]
}

// offset is where the value i of a text or a list begins.
func (a *Array) offset(i int) int {
	if a.wide {
		return int(binary.LittleEndian.Uint64(a.offsets[8*i:]))
	}
	return int(binary.LittleEndian.Uint32(a.offsets[4*i:]))
}

// index is the place of a value in its dictionary.
func (a *Array) index(i int) int {
	switch a.kind.Index {
	case types.Int8, types.Uint8:
		return int(a.data[i])
	case types.Int16, types.Uint16:
		return int(binary.LittleEndian.Uint16(a.data[2*i:]))
	case types.Int32, types.Uint32:
		return int(binary.LittleEndian.Uint32(a.data[4*i:]))
	}
	return int(binary.LittleEndian.Uint64(a.data[8*i:]))
}

// span is where the items of a list or map begin and end.
func (a *Array) span(i int) (from, to int) {
	if a.kind.Kind == types.FixedList {
		return i * a.kind.Width, (i + 1) * a.kind.Width
	}
	return a.offset(i), a.offset(i + 1)
}

// widthOf is the bytes of a value of fixed width; 0: it has none.
func widthOf(kind types.Type) int {
	switch k := kind.Kind; {
	case k.IsInteger():
		return 1 << ((k - types.Int8) % 4)
	case k.IsFloat():
		return 2 << (k - types.Float16)
	case k.IsDecimal():
		return 4 << (k - types.Decimal32)
	case k == types.Date32, k == types.Time32:
		return 4
	case k == types.Date64, k == types.Time64, k == types.Timestamp, k == types.Duration:
		return 8
	case k == types.FixedBinary:
		return kind.Width
	case k == types.StringView, k == types.BinaryView:
		return 16
	case k == types.Dictionary:
		return widthOf(types.Of(kind.Index))
	}
	return 0
}

// whole is a value of a column of integers, dates or times.
func (a *Array) whole(i int) int64 {
	little := binary.LittleEndian
	switch a.kind.Kind {
	case types.Int8:
		return int64(int8(a.data[i]))
	case types.Uint8:
		return int64(a.data[i])
	case types.Int16:
		return int64(int16(little.Uint16(a.data[2*i:])))
	case types.Uint16:
		return int64(little.Uint16(a.data[2*i:]))
	case types.Int32, types.Date32, types.Time32:
		return int64(int32(little.Uint32(a.data[4*i:])))
	case types.Uint32:
		return int64(little.Uint32(a.data[4*i:]))
	}
	return int64(little.Uint64(a.data[8*i:]))
}

// float is a value of a column of floating numbers.
func (a *Array) float(i int) float64 {
	switch a.kind.Kind {
	case types.Float16:
		return halfFloat(binary.LittleEndian.Uint16(a.data[2*i:]))
	case types.Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:])))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(a.data[8*i:]))
}

func (a *Array) bit(i int) bool { return a.data[i>>3]>>(i&7)&1 == 1 }

// Value is a value as Row.Get gives it.
func (a *Array) Value(i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch k := a.kind.Kind; {
	case k == types.Bool:
		return a.bit(i)
	case k == types.Uint64:
		return uint64(a.whole(i))
	case k >= types.Uint8 && k < types.Uint64:
		return uint64(a.whole(i))
	case k.IsInteger():
		return a.whole(i)
	case k.IsFloat():
		return a.float(i)
	case k.IsDecimal():
		width := widthOf(a.kind)
		return rows.Decimal(decimalText(a.data[i*width:(i+1)*width], a.kind.Scale))
	case k.IsText():
		return a.Text(i)
	case k.IsBinary():
		return append([]byte{}, a.bytes(i)...)
	case k == types.Date32:
		return rows.Date(a.whole(i))
	case k == types.Date64:
		return rows.Date(floorDiv(a.whole(i), 86_400_000))
	case k == types.Time32, k == types.Time64:
		return rows.TimeOfDay(a.whole(i) * (1e9 / a.kind.Unit.PerSecond()))
	case k == types.Timestamp:
		return timeOf(a.whole(i), a.kind.Unit)
	case k == types.Duration:
		return time.Duration(a.whole(i) * (1e9 / a.kind.Unit.PerSecond()))
	case k.IsList():
		from, to := a.span(i)
		items := make([]any, 0, to-from)
		for at := from; at < to; at++ {
			items = append(items, a.children[0].Value(at))
		}
		return items
	case k == types.Struct:
		made := make(map[string]any, len(a.children))
		for c, child := range a.children {
			made[a.kind.Columns[c].Name] = child.Value(i)
		}
		return made
	case k == types.Map:
		from, to := a.span(i)
		pairs := make([]rows.Pair, 0, to-from)
		for at := from; at < to; at++ {
			pairs = append(pairs, rows.Pair{Key: a.children[0].Value(at), Value: a.children[1].Value(at)})
		}
		return pairs
	case k == types.Dictionary:
		return a.children[0].Value(a.index(i))
	}
	return nil
}

func timeOf(count int64, unit types.Unit) time.Time {
	per := unit.PerSecond()
	seconds := floorDiv(count, per)
	return time.Unix(seconds, (count-seconds*per)*(1e9/per)).UTC()
}

func floorDiv(n, by int64) int64 {
	cut := n / by
	if n%by < 0 {
		cut--
	}
	return cut
}

func halfFloat(bits uint16) float64 {
	sign, exponent, fraction := 1.0, int(bits>>10&31), float64(bits&1023)
	if bits>>15 == 1 {
		sign = -1
	}
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1+fraction/1024, exponent-15)
}

// toHalf rounds to the nearest number of 16 bits, halves to the even one.
func toHalf(n float64) uint16 {
	sign := uint16(math.Float64bits(n) >> 63 << 15)
	size := math.Abs(n)
	switch {
	case math.IsNaN(n):
		return 0x7e00
	case size >= 65520:
		return sign | 0x7c00
	case size < math.Ldexp(1, -14):
		return sign | uint16(math.RoundToEven(math.Ldexp(size, 24)))
	}
	fraction, exponent := math.Frexp(size)
	return sign | uint16(int(math.RoundToEven((2*fraction-1)*1024))+(exponent+14)<<10)
}
