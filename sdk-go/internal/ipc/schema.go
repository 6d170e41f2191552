package ipc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"dataflare.dev/sdk-go/internal/types"
)

const (
	headerSchema     = 1
	headerDictionary = 2
	headerBatch      = 3
	version5         = 4
)

// AppendMessage adds an encapsulated message: a metadata flatbuffer, then a body.
func appendMessage(dst []byte, header byte, bodyLength int, write func(*builder) int) []byte {
	build := builder{buf: make([]byte, 4, 512)}
	at := build.table(
		field{slot: 0, size: 2, value: version5},
		field{slot: 1, size: 1, value: uint64(header)},
		field{slot: 2, child: func() int { return write(&build) }},
		field{slot: 3, size: 8, value: uint64(bodyLength)},
	)
	binary.LittleEndian.PutUint32(build.buf, uint32(at))
	build.align(8)
	dst = binary.LittleEndian.AppendUint32(dst, 0xffffffff)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(build.buf)))
	return append(dst, build.buf...)
}

// AppendSchema adds the message that tells a schema.
func AppendSchema(dst []byte, schema types.Schema) []byte {
	return appendMessage(dst, headerSchema, 0, func(b *builder) int {
		ids := int64(0)
		return b.table(
			field{slot: 0, size: 2},
			field{slot: 1, child: func() int {
				return b.tables(len(schema.Columns), func(i int) int { return b.column(schema.Columns[i], &ids) })
			}},
		)
	})
}

func (b *builder) column(column types.Column, ids *int64) int {
	kind := column.Type
	fields := []field{
		{slot: 0, child: func() int { return b.text(column.Name) }},
		{slot: 1, size: 1, value: flag(column.Nullable)},
	}
	if kind.Kind == types.Dictionary {
		id := *ids
		*ids++
		index := types.Of(kind.Index)
		ordered := kind.Ordered
		fields = append(fields, field{slot: 4, child: func() int {
			return b.table(
				field{slot: 0, size: 8, value: uint64(id)},
				field{slot: 1, child: func() int { _, words := typeWords(index); return b.table(words...) }},
				field{slot: 2, size: 1, value: flag(ordered)},
			)
		}})
		kind = kind.Plain()
	}
	number, words := typeWords(kind)
	if kind.Kind == types.Timestamp && kind.Zone != "" {
		zone := kind.Zone
		words = append(words, field{slot: 1, child: func() int { return b.text(zone) }})
	}
	children := kind.Columns
	if kind.Kind == types.Map {
		entries := types.Type{Kind: types.Struct, Columns: kind.Columns}
		children = []types.Column{{Name: "entries", Type: entries}}
	}
	fields = append(fields,
		field{slot: 2, size: 1, value: uint64(number)},
		field{slot: 3, child: func() int { return b.table(words...) }},
		field{slot: 5, child: func() int {
			return b.tables(len(children), func(i int) int { return b.column(children[i], ids) })
		}},
	)
	if len(column.Metadata) > 0 {
		fields = append(fields, field{slot: 6, child: func() int { return b.metadata(column.Metadata) }})
	}
	return b.table(fields...)
}

func (b *builder) metadata(words map[string]string) int {
	keys := make([]string, 0, len(words))
	for key := range words {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return b.tables(len(keys), func(i int) int {
		return b.table(
			field{slot: 0, child: func() int { return b.text(keys[i]) }},
			field{slot: 1, child: func() int { return b.text(words[keys[i]]) }},
		)
	})
}

func flag(set bool) uint64 {
	if set {
		return 1
	}
	return 0
}

// typeWords are the number of a type in Arrow's union, and the fields of its table.
func typeWords(kind types.Type) (number int, words []field) {
	word := func(slot, size, value int) field { return field{slot: slot, size: size, value: uint64(value)} }
	switch k := kind.Kind; {
	case k == types.Null:
		return 1, nil
	case k.IsInteger():
		width := 8 << ((k - types.Int8) % 4)
		return 2, []field{word(0, 4, width), word(1, 1, int(flag(k <= types.Int64)))}
	case k.IsFloat():
		return 3, []field{word(0, 2, int(k-types.Float16))}
	case k == types.Binary:
		return 4, nil
	case k == types.String:
		return 5, nil
	case k == types.Bool:
		return 6, nil
	case k.IsDecimal():
		width := 32 << (k - types.Decimal32)
		return 7, []field{word(0, 4, kind.Precision), word(1, 4, kind.Scale), word(2, 4, width)}
	case k == types.Date32, k == types.Date64:
		return 8, []field{word(0, 2, int(k-types.Date32))}
	case k == types.Time32, k == types.Time64:
		return 9, []field{word(0, 2, int(kind.Unit)), word(1, 4, 32<<(k-types.Time32))}
	case k == types.Timestamp:
		return 10, []field{word(0, 2, int(kind.Unit))}
	case k == types.List:
		return 12, nil
	case k == types.Struct:
		return 13, nil
	case k == types.FixedBinary:
		return 15, []field{word(0, 4, kind.Width)}
	case k == types.FixedList:
		return 16, []field{word(0, 4, kind.Width)}
	case k == types.Map:
		return 17, []field{word(0, 1, int(flag(kind.Ordered)))}
	case k == types.Duration:
		return 18, []field{word(0, 2, int(kind.Unit))}
	case k == types.LargeBinary:
		return 19, nil
	case k == types.LargeString:
		return 20, nil
	case k == types.LargeList:
		return 21, nil
	case k == types.BinaryView:
		return 23, nil
	case k == types.StringView:
		return 24, nil
	}
	return 1, nil
}

// message cuts the next encapsulated message off: its metadata, its body, and what follows.
// header 0: the stream has ended.
func message(given []byte) (told table, header byte, body, rest []byte) {
	if len(given) == 0 {
		return table{}, 0, nil, nil
	}
	length, start := i32(given, 0), 4
	if length == -1 {
		length, start = i32(given, 4), 8
	}
	if length == 0 {
		return table{}, 0, nil, nil
	}
	told = root(need(given, start, length))
	size := told.long(3)
	if size < 0 || size > int64(len(given)) {
		panic(errMessage)
	}
	body = need(given, start+length, int(size))
	return told, told.byte(1), body, given[start+length+int(size):]
}

// ReadSchema takes the schema of a message.
func ReadSchema(given []byte) (schema types.Schema, err error) {
	defer caught(&err)
	told, header, _, _ := message(given)
	if header != headerSchema {
		return schema, fmt.Errorf("%w: it tells no schema", errMessage)
	}
	schema, _ = schemaOf(told)
	return schema, nil
}

// schemaOf is the schema in a message, and the numbers of its dictionaries in the order of the columns.
func schemaOf(told table) (schema types.Schema, ids []int64) {
	inner, ok := told.table(2)
	if !ok {
		panic(errMessage)
	}
	if inner.short(0, 0) != 0 {
		panic(fmt.Errorf("%w: it is big-endian", errMessage))
	}
	for _, each := range inner.tables(1) {
		schema.Columns = append(schema.Columns, columnOf(each, &ids, 0))
	}
	return schema, ids
}

func columnOf(told table, ids *[]int64, depth int) types.Column {
	if depth > 64 {
		panic(fmt.Errorf("%w: its columns are nested too deep", errMessage))
	}
	column := types.Column{Name: told.text(0), Nullable: told.bool(1)}
	place := -1
	dictionary, encoded := told.table(4)
	if encoded {
		place = len(*ids)
		*ids = append(*ids, dictionary.long(0))
	}
	var children []types.Column
	for _, child := range told.tables(5) {
		children = append(children, columnOf(child, ids, depth+1))
	}
	inner, _ := told.table(3)
	column.Type = typeOf(told.byte(2), inner, children)
	if place >= 0 {
		index := types.Int32
		if words, ok := dictionary.table(1); ok {
			index = integer(words)
		}
		value := types.Column{Name: "value", Type: column.Type, Nullable: true}
		column.Type = types.Type{Kind: types.Dictionary, Columns: []types.Column{value}, Index: index, Ordered: dictionary.bool(2)}
	}
	for _, pair := range told.tables(6) {
		if column.Metadata == nil {
			column.Metadata = map[string]string{}
		}
		column.Metadata[pair.text(0)] = pair.text(1)
	}
	return column
}

func integer(words table) types.Kind {
	base := types.Uint8
	if words.buf != nil && words.bool(1) {
		base = types.Int8
	}
	switch words.int(0, 0) {
	case 8:
		return base
	case 16:
		return base + 1
	case 32:
		return base + 2
	case 64:
		return base + 3
	}
	panic(fmt.Errorf("%w: an integer of %d bits", errMessage, words.int(0, 0)))
}

func typeOf(number byte, words table, children []types.Column) types.Type {
	if words.buf == nil {
		panic(errMessage)
	}
	want := func(count int) {
		if len(children) != count {
			panic(fmt.Errorf("%w: a column has %d inner ones", errMessage, len(children)))
		}
	}
	unit := func(otherwise types.Unit) types.Unit {
		found := words.short(0, int(otherwise))
		if found < 0 || found > 3 {
			panic(errMessage)
		}
		return types.Unit(found)
	}
	switch number {
	case 1:
		return types.Of(types.Null)
	case 2:
		return types.Of(integer(words))
	case 3:
		precision := words.short(0, 0)
		if precision < 0 || precision > 2 {
			panic(errMessage)
		}
		return types.Of(types.Float16 + types.Kind(precision))
	case 4:
		return types.Of(types.Binary)
	case 5:
		return types.Of(types.String)
	case 6:
		return types.Of(types.Bool)
	case 7:
		kinds := map[int]types.Kind{32: types.Decimal32, 64: types.Decimal64, 128: types.Decimal128, 256: types.Decimal256}
		kind, ok := kinds[words.int(2, 128)]
		if !ok {
			panic(errMessage)
		}
		return types.Type{Kind: kind, Precision: words.int(0, 0), Scale: words.int(1, 0)}
	case 8:
		if words.short(0, 1) == 0 {
			return types.Of(types.Date32)
		}
		return types.Of(types.Date64)
	case 9:
		kind := types.Time32
		if words.int(1, 32) == 64 {
			kind = types.Time64
		}
		return types.Type{Kind: kind, Unit: unit(types.Milli)}
	case 10:
		return types.Type{Kind: types.Timestamp, Unit: unit(types.Second), Zone: words.text(1)}
	case 12:
		want(1)
		return types.Type{Kind: types.List, Columns: children}
	case 13:
		return types.Type{Kind: types.Struct, Columns: children}
	case 15, 16:
		kind, width := types.FixedBinary, words.int(0, 0)
		if width < 0 {
			panic(errMessage)
		}
		if number == 16 {
			want(1)
			kind = types.FixedList
		}
		return types.Type{Kind: kind, Width: width, Columns: children}
	case 17:
		want(1)
		if len(children[0].Type.Columns) != 2 {
			panic(errMessage)
		}
		return types.Type{Kind: types.Map, Columns: children[0].Type.Columns, Ordered: words.bool(0)}
	case 18:
		return types.Type{Kind: types.Duration, Unit: unit(types.Milli)}
	case 19:
		return types.Of(types.LargeBinary)
	case 20:
		return types.Of(types.LargeString)
	case 21:
		want(1)
		return types.Type{Kind: types.LargeList, Columns: children}
	case 23:
		return types.Of(types.BinaryView)
	case 24:
		return types.Of(types.StringView)
	}
	return types.Type{Kind: types.Other, Name: fmt.Sprintf("arrow type %d", number)}
}
