package rows

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"dataflare.dev/sdk-go/internal/types"
)

// codec reads and writes the values of one Go type.
type codec struct {
	kind     types.Type
	nullable bool
	read     func(*Scanner, unsafe.Pointer)
	write    func([]byte, unsafe.Pointer, *types.Type) []byte
}

var (
	typeTime     = reflect.TypeFor[time.Time]()
	typeSpan     = reflect.TypeFor[time.Duration]()
	typeDate     = reflect.TypeFor[Date]()
	typeClock    = reflect.TypeFor[TimeOfDay]()
	typeDecimal  = reflect.TypeFor[Decimal]()
	typeRaw      = reflect.TypeFor[json.RawMessage]()
	defaultPlace = types.Type{Kind: types.Decimal128, Precision: 38, Scale: 9}
)

// codecOf makes the codec of a Go type; tag is that of the struct's field.
func codecOf(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	switch kind {
	case typeTime:
		return parsed(types.Type{Kind: types.Timestamp, Unit: types.Micro, Zone: "UTC"}, parseTime, AppendTime), nil
	case typeSpan:
		write := func(dst []byte, v time.Duration, t types.Type) []byte { return AppendDuration(dst, v, t.Unit) }
		return parsed(types.Type{Kind: types.Duration, Unit: types.Nano}, parseDuration, write), nil
	case typeClock:
		write := func(dst []byte, v TimeOfDay, t types.Type) []byte { return AppendClock(dst, v, t.Unit) }
		return parsed(types.Type{Kind: types.Time64, Unit: types.Nano}, parseClock, write), nil
	case typeDate:
		write := func(dst []byte, v Date, _ types.Type) []byte { return AppendDate(dst, v) }
		return parsed(types.Of(types.Date32), parseDate, write), nil
	case typeDecimal:
		return decimal(tag)
	case typeRaw:
		return codec{}, fmt.Errorf("json.RawMessage has no type of a column: embed dataflare.Row to keep the rest of a row")
	}
	switch kind.Kind() {
	case reflect.Bool:
		return scalar(types.Bool, (*Scanner).Bool, strconv.AppendBool), nil
	case reflect.Int8:
		return integer[int8](types.Int8), nil
	case reflect.Int16:
		return integer[int16](types.Int16), nil
	case reflect.Int32:
		return integer[int32](types.Int32), nil
	case reflect.Int64:
		return integer[int64](types.Int64), nil
	case reflect.Int:
		return integer[int](types.Int64), nil
	case reflect.Uint8:
		return natural[uint8](types.Uint8), nil
	case reflect.Uint16:
		return natural[uint16](types.Uint16), nil
	case reflect.Uint32:
		return natural[uint32](types.Uint32), nil
	case reflect.Uint64:
		return natural[uint64](types.Uint64), nil
	case reflect.Uint:
		return natural[uint](types.Uint64), nil
	case reflect.Float32:
		read := func(s *Scanner) float32 { return float32(s.Float()) }
		return scalar(types.Float32, read, func(dst []byte, v float32) []byte { return AppendFloat(dst, float64(v), 32) }), nil
	case reflect.Float64:
		return scalar(types.Float64, (*Scanner).Float, func(dst []byte, v float64) []byte { return AppendFloat(dst, v, 64) }), nil
	case reflect.String:
		return scalar(types.String, (*Scanner).String, AppendString), nil
	case reflect.Pointer:
		return pointer(kind, tag, above)
	case reflect.Slice:
		if kind.Elem().Kind() == reflect.Uint8 {
			return content(), nil
		}
		return list(kind, tag, above)
	case reflect.Array:
		return array(kind, tag, above)
	case reflect.Map:
		return mapping(kind, tag, above)
	case reflect.Struct:
		return structure(kind, above)
	}
	return codec{}, fmt.Errorf("%s is not the type of a column", kind)
}

func scalar[T any](kind types.Kind, read func(*Scanner) T, write func([]byte, T) []byte) codec {
	return codec{
		kind:  types.Of(kind),
		read:  func(s *Scanner, at unsafe.Pointer) { *(*T)(at) = read(s) },
		write: func(dst []byte, at unsafe.Pointer, _ *types.Type) []byte { return write(dst, *(*T)(at)) },
	}
}

// content is bytes: nil is null.
func content() codec {
	made := scalar(types.Binary, func(s *Scanner) []byte {
		if s.Null() {
			return nil
		}
		return convert(s, parseBytes)
	}, func(dst, value []byte) []byte {
		if value == nil {
			return append(dst, "null"...)
		}
		return AppendBytes(dst, value)
	})
	made.nullable = true
	return made
}

func integer[T int | int8 | int16 | int32 | int64](kind types.Kind) codec {
	return scalar(kind, func(s *Scanner) T {
		n := s.Int()
		if int64(T(n)) != n {
			s.Fail("%d is not a number of the type %s", n, types.Of(kind))
		}
		return T(n)
	}, func(dst []byte, v T) []byte { return AppendInt(dst, int64(v)) })
}

func natural[T uint | uint8 | uint16 | uint32 | uint64](kind types.Kind) codec {
	return scalar(kind, func(s *Scanner) T {
		n := s.Uint()
		if uint64(T(n)) != n {
			s.Fail("%d is not a number of the type %s", n, types.Of(kind))
		}
		return T(n)
	}, func(dst []byte, v T) []byte { return AppendUint(dst, uint64(v)) })
}

func convert[T any](s *Scanner, parse func(string) (T, error)) T {
	value, err := parse(s.String())
	if err != nil && s.Err == nil {
		s.Fail("%v", err)
	}
	return value
}

// parsed is a type that is a text in JSON.
func parsed[T any](kind types.Type, parse func(string) (T, error), write func([]byte, T, types.Type) []byte) codec {
	return codec{
		kind:  kind,
		read:  func(s *Scanner, at unsafe.Pointer) { *(*T)(at) = convert(s, parse) },
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte { return write(dst, *(*T)(at), *t) },
	}
}

func decimal(tag reflect.StructTag) (codec, error) {
	kind := defaultPlace
	if text, ok := tag.Lookup("decimal"); ok {
		precision, scale, _ := strings.Cut(text, ",")
		var errs [2]error
		kind.Precision, errs[0] = strconv.Atoi(strings.TrimSpace(precision))
		kind.Scale, errs[1] = strconv.Atoi(strings.TrimSpace(scale))
		if errs[0] != nil || errs[1] != nil || kind.Precision < 1 || kind.Precision > 76 {
			return codec{}, fmt.Errorf("`decimal:%q` is not digits and digits behind the point, such as decimal:\"10,2\"", text)
		}
		if kind.Precision > 38 {
			kind.Kind = types.Decimal256
		}
	}
	write := func(dst []byte, v Decimal, _ types.Type) []byte {
		if v == "" {
			v = "0"
		}
		return AppendString(dst, string(v))
	}
	made := parsed(kind, parseDecimal, write)
	made.read = func(s *Scanner, at unsafe.Pointer) {
		if s.Peek() == '"' {
			*(*Decimal)(at) = convert(s, parseDecimal)
		} else {
			*(*Decimal)(at) = Decimal(s.Number())
		}
	}
	return made, nil
}
