package arrow

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"time"

	"dataflare.dev/sdk-go/internal/rows"
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

func wholeOf(given any) (int64, bool) {
	switch v := given.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), true
	case int:
		return int64(v), true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	}
	value := reflect.ValueOf(given)
	switch {
	case value.CanInt():
		return value.Int(), true
	case value.CanUint():
		return int64(value.Uint()), true
	}
	return 0, false
}

// inRange tells whether a whole number is one of a kind.
func inRange(n int64, given any, kind types.Kind) bool {
	if value := reflect.ValueOf(given); value.CanUint() && n < 0 {
		return kind == types.Uint64
	}
	width := uint(8) << ((kind - types.Int8) % 4)
	if kind >= types.Uint8 {
		return n >= 0 && (width == 64 || n < 1<<width)
	}
	return width == 64 || n >= -1<<(width-1) && n < 1<<(width-1)
}

func floatOf(given any) (float64, bool) {
	value := reflect.ValueOf(given)
	switch {
	case value.CanFloat():
		return value.Float(), true
	case value.CanInt():
		return float64(value.Int()), true
	case value.CanUint():
		return float64(value.Uint()), true
	}
	return 0, false
}

func decimalOf(given any) (string, bool) {
	if text, ok := given.(rows.Decimal); ok {
		return string(text), true
	}
	if n, ok := wholeOf(given); ok {
		return fmt.Sprint(n), true
	}
	return "", false
}

func textOf(given any, kind types.Kind) (string, bool) {
	switch v := given.(type) {
	case string:
		return v, kind.IsText()
	case []byte:
		return string(v), kind.IsBinary()
	}
	if value := reflect.ValueOf(given); value.Kind() == reflect.String {
		return value.String(), kind.IsText()
	}
	return "", false
}

// moment is the count of a date, a time, a duration, in the unit of the column.
func (b *builder) moment(given any) (int64, bool) {
	per := b.kind.Unit.PerSecond()
	switch v := given.(type) {
	case time.Time:
		switch b.kind.Kind {
		case types.Timestamp:
			return v.Unix()*per + int64(v.Nanosecond())/(1e9/per), true
		case types.Date32:
			return int64(rows.DateOf(v)), true
		case types.Date64:
			return int64(rows.DateOf(v)) * 86_400_000, true
		}
	case rows.Date:
		switch b.kind.Kind {
		case types.Date32:
			return int64(v), true
		case types.Date64:
			return int64(v) * 86_400_000, true
		}
	case time.Duration:
		return floorDiv(int64(v), 1e9/per), b.kind.Kind == types.Duration
	case rows.TimeOfDay:
		return int64(v) / (1e9 / per), b.kind.Kind == types.Time32 || b.kind.Kind == types.Time64
	}
	return 0, false
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

func (b *builder) encode(given any) error {
	if b.places == nil {
		b.places = map[string]int{}
	}
	key := fmt.Sprintf("%T %v", given, given)
	place, known := b.places[key]
	if !known {
		place = b.children[0].len
		if err := b.children[0].value(given); err != nil {
			return err
		}
		b.places[key] = place
	}
	if b.kind.Index < types.Int32 && place > 127 {
		return fmt.Errorf("a dictionary with indices of the type %s has too many values", types.Of(b.kind.Index))
	}
	b.whole(int64(place))
	return nil
}

func (b *builder) nested(given any, misfit func() error) error {
	switch v := given.(type) {
	case map[string]any:
		if b.kind.Kind != types.Struct {
			return misfit()
		}
		for i, column := range b.kind.Columns {
			if err := b.children[i].value(v[column.Name]); err != nil {
				return fmt.Errorf("`%s`: %w", column.Name, err)
			}
		}
		b.mark(true)
		return nil
	case []any:
		if !b.kind.Kind.IsList() || b.kind.Kind == types.FixedList && len(v) != b.kind.Width {
			return misfit()
		}
		for _, item := range v {
			if err := b.children[0].value(item); err != nil {
				return err
			}
		}
	case []rows.Pair:
		if b.kind.Kind != types.Map {
			return misfit()
		}
		for _, pair := range v {
			if err := b.children[0].value(pair.Key); err != nil {
				return err
			}
			if err := b.children[1].value(pair.Value); err != nil {
				return err
			}
		}
	default:
		plain, err := rows.Plain(given, b.kind)
		if err != nil {
			return misfit()
		}
		if plain == nil {
			b.null()
			return nil
		}
		return b.nested(plain, misfit)
	}
	b.mark(true)
	if b.hasOffsets() {
		b.endOffset(b.end())
	}
	return nil
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
