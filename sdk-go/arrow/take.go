package arrow

import (
	"unsafe"

	"dataflare.dev/sdk-go/internal/types"
)

// memory is the bytes of numbers, where they stand.
func memory[T any](values []T) []byte {
	size := int(unsafe.Sizeof(*new(T)))
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*size)
}

// take is the values of these numbers, in their order.
func take(a *Array, numbers []int) *Array {
	made := &Array{kind: a.kind, len: len(numbers), wide: a.wide, buffers: a.buffers}
	if a.kind.Kind == types.Null {
		made.nulls = made.len
		return made
	}
	if a.nulls > 0 {
		made.valid, made.nulls = takeBits(a.valid, numbers)
	}
	switch width := widthOf(a.kind); {
	case a.kind.Kind == types.Bool:
		made.data, _ = takeBits(a.data, numbers)
	case a.kind.Kind == types.Struct:
		for _, child := range a.children {
			made.children = append(made.children, take(child, numbers))
		}
	case width > 0 || a.kind.Kind == types.FixedBinary:
		made.children = a.children
		made.data = takeFixed(a.data, width, numbers)
	case len(a.children) > 0:
		takeLists(a, made, numbers)
	default:
		takeTexts(a, made, numbers)
	}
	return made
}

// takeBits gives the bits, and how many of them are not set.
func takeBits(bits []byte, numbers []int) (made []byte, unset int) {
	made = make([]byte, (len(numbers)+7)/8)
	for i, at := range numbers {
		if bits[at>>3]>>(at&7)&1 == 1 {
			made[i>>3] |= 1 << (i & 7)
		} else {
			unset++
		}
	}
	return made, unset
}

func takeFixed(data []byte, width int, numbers []int) []byte {
	made := make([]byte, len(numbers)*width)
	if width == 8 {
		from := unsafe.Slice((*[8]byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/8)
		into := unsafe.Slice((*[8]byte)(unsafe.Pointer(unsafe.SliceData(made))), len(numbers))
		for i, at := range numbers {
			into[i] = from[at]
		}
		return made
	}
	for i, at := range numbers {
		copy(made[i*width:(i+1)*width], data[at*width:])
	}
	return made
}

func takeTexts(a, made *Array, numbers []int) {
	size := 0
	for _, at := range numbers {
		size += a.offset(at+1) - a.offset(at)
	}
	b := &builder{wide: a.wide, data: make([]byte, 0, size), offsets: make([]byte, 0, 8*(len(numbers)+1))}
	b.endOffset(0)
	for _, at := range numbers {
		b.data = append(b.data, a.data[a.offset(at):a.offset(at+1)]...)
		b.endOffset(len(b.data))
	}
	made.data, made.offsets = b.data, b.offsets
}

func takeLists(a, made *Array, numbers []int) {
	b := &builder{wide: a.wide}
	b.endOffset(0)
	var items []int
	for _, at := range numbers {
		from, to := a.span(at)
		for item := from; item < to; item++ {
			items = append(items, item)
		}
		b.endOffset(len(items))
	}
	if a.kind.Kind != types.FixedList {
		made.offsets = b.offsets
	}
	for _, child := range a.children {
		made.children = append(made.children, take(child, items))
	}
}
