package arrow

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"dataflare.dev/sdk-go/internal/encoding"
	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

// readField fills one field of all structs from its column. It gives the rows whose value is null and cannot be.
func readField(field *rows.Field, column *Array, into encoding.Structs) ([]int, error) {
	var void []int
	if column.nulls > 0 && !field.Nullable() {
		for i := range into.Len {
			if column.IsNull(i) {
				void = append(void, i)
			}
		}
	}
	kind := field.Type
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	read := readerOf(kind, column)
	if read == nil {
		return void, readSlowly(field, column, into)
	}
	pointer := kind != field.Type
	for i := range into.Len {
		if column.nulls > 0 && column.IsNull(i) {
			continue
		}
		at := unsafe.Add(into.At(i), field.Offset)
		if pointer {
			made := reflect.New(kind).UnsafePointer()
			*(*unsafe.Pointer)(at) = made
			at = made
		}
		if err := read(at, i); err != nil {
			return void, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return void, nil
}

type reader func(at unsafe.Pointer, i int) error

var (
	typeTime = reflect.TypeFor[time.Time]()
	typeSpan = reflect.TypeFor[time.Duration]()
	typeDate = reflect.TypeFor[rows.Date]()
	typeTod  = reflect.TypeFor[rows.TimeOfDay]()
	typeDec  = reflect.TypeFor[rows.Decimal]()
)

// readerOf reads a value of a column where it stands into a Go value of a plain type; nil: it takes the long way.
func readerOf(kind reflect.Type, a *Array) reader {
	column := a.kind.Kind
	switch kind {
	case typeTime:
		if column != types.Timestamp {
			return nil
		}
		return func(at unsafe.Pointer, i int) error { *(*time.Time)(at) = timeOf(a.whole(i), a.kind.Unit); return nil }
	case typeSpan, typeTod, typeDate, typeDec:
		return nil
	}
	switch kind.Kind() {
	case reflect.Bool:
		if column != types.Bool {
			return nil
		}
		return func(at unsafe.Pointer, i int) error { *(*bool)(at) = a.bit(i); return nil }
	case reflect.String:
		if column.IsText() || column == types.Dictionary && a.kind.Plain().Kind.IsText() {
			return func(at unsafe.Pointer, i int) error { *(*string)(at) = a.Text(i); return nil }
		}
	case reflect.Float64:
		if column.IsFloat() {
			return func(at unsafe.Pointer, i int) error { *(*float64)(at) = a.float(i); return nil }
		}
		if column.IsInteger() && column != types.Uint64 {
			return func(at unsafe.Pointer, i int) error { *(*float64)(at) = float64(a.whole(i)); return nil }
		}
	case reflect.Float32:
		if column.IsFloat() {
			return func(at unsafe.Pointer, i int) error { *(*float32)(at) = float32(a.float(i)); return nil }
		}
	case reflect.Int64:
		return integerReader[int64](a)
	case reflect.Int:
		return integerReader[int](a)
	case reflect.Int32:
		return integerReader[int32](a)
	case reflect.Int16:
		return integerReader[int16](a)
	case reflect.Int8:
		return integerReader[int8](a)
	case reflect.Uint64:
		return integerReader[uint64](a)
	case reflect.Uint:
		return integerReader[uint](a)
	case reflect.Uint32:
		return integerReader[uint32](a)
	case reflect.Uint16:
		return integerReader[uint16](a)
	case reflect.Uint8:
		return integerReader[uint8](a)
	}
	return nil
}

func integerReader[T int | int8 | int16 | int32 | int64 | uint | uint8 | uint16 | uint32 | uint64](a *Array) reader {
	column := a.kind.Kind
	if !column.IsInteger() {
		return nil
	}
	unsigned := T(0)-1 > 0
	return func(at unsafe.Pointer, i int) error {
		n := a.whole(i)
		if int64(T(n)) != n || n < 0 && unsigned != (column == types.Uint64) {
			return fmt.Errorf("%v is not a number of the type %T", a.Value(i), T(0))
		}
		*(*T)(at) = T(n)
		return nil
	}
}

// readSlowly goes by way of JSON, which every field can read.
func readSlowly(field *rows.Field, column *Array, into encoding.Structs) error {
	kind := column.kind.Plain()
	var text []byte
	for i := range into.Len {
		if column.IsNull(i) {
			continue
		}
		var err error
		if text, err = rows.AppendValue(text[:0], column.Value(i), kind); err != nil {
			return err
		}
		if err := field.ReadJSON(string(text), unsafe.Add(into.At(i), field.Offset)); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

// writeField makes a column of one field of all structs.
func writeField(field *rows.Field, kind types.Type, given encoding.Structs) (*Array, error) {
	b := newBuilder(kind)
	if width := widthOf(kind); width > 0 {
		b.data = make([]byte, 0, width*given.Len)
	}
	goKind := field.Type
	pointer := goKind.Kind() == reflect.Pointer
	if pointer {
		goKind = goKind.Elem()
	}
	write := writerOf(goKind, b)
	for i := range given.Len {
		at := unsafe.Add(given.At(i), field.Offset)
		if write != nil && pointer {
			if at = *(*unsafe.Pointer)(at); at == nil {
				b.null()
				continue
			}
		}
		if write != nil {
			write(at)
			continue
		}
		s := rows.Scanner{Text: string(field.AppendJSON(nil, at, &kind))}
		value := rows.ReadValue(&s, kind)
		err := s.Err
		if err == nil {
			err = b.value(value)
		}
		if err != nil {
			return nil, fmt.Errorf("`%s` of row %d: %w", field.Column.Name, i, err)
		}
	}
	return b.done(), nil
}

// writerOf adds a Go value of a plain type, where it stands, to a column of the type that it has by itself; nil: the
// long way.
func writerOf(kind reflect.Type, b *builder) func(at unsafe.Pointer) {
	switch kind {
	case typeTime:
		return func(at unsafe.Pointer) { n, _ := b.moment(*(*time.Time)(at)); b.whole(n) }
	case typeSpan, typeTod, typeDate, typeDec:
		return nil
	}
	switch kind.Kind() {
	case reflect.Bool:
		return func(at unsafe.Pointer) { b.bool(*(*bool)(at)) }
	case reflect.String:
		return func(at unsafe.Pointer) { b.text(*(*string)(at)) }
	case reflect.Float64:
		return func(at unsafe.Pointer) { b.float(*(*float64)(at)) }
	case reflect.Float32:
		return func(at unsafe.Pointer) { b.float(float64(*(*float32)(at))) }
	case reflect.Int64, reflect.Uint64:
		return func(at unsafe.Pointer) { b.whole(*(*int64)(at)) }
	case reflect.Int:
		return func(at unsafe.Pointer) { b.whole(int64(*(*int)(at))) }
	case reflect.Uint:
		return func(at unsafe.Pointer) { b.whole(int64(*(*uint)(at))) }
	case reflect.Int32, reflect.Uint32:
		return func(at unsafe.Pointer) { b.whole(int64(*(*int32)(at))) }
	case reflect.Int16, reflect.Uint16:
		return func(at unsafe.Pointer) { b.whole(int64(*(*int16)(at))) }
	case reflect.Int8, reflect.Uint8:
		return func(at unsafe.Pointer) { b.whole(int64(*(*int8)(at))) }
	}
	return nil
}
