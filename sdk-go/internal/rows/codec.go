package rows

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
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

func pointer(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	inner, err := codecOf(kind.Elem(), tag, above)
	if err != nil || inner.nullable {
		return codec{}, orElse(err, fmt.Errorf("%s is not the type of a column", kind))
	}
	elem := kind.Elem()
	return codec{
		kind:     inner.kind,
		nullable: true,
		read: func(s *Scanner, at unsafe.Pointer) {
			if s.Null() {
				*(*unsafe.Pointer)(at) = nil
				return
			}
			made := reflect.New(elem).UnsafePointer()
			inner.read(s, made)
			*(*unsafe.Pointer)(at) = made
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			if target := *(*unsafe.Pointer)(at); target != nil {
				return inner.write(dst, target, t)
			}
			return append(dst, "null"...)
		},
	}, nil
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// item reads a value inside of another one, where null may stand only for what can be nil.
func (c codec) item(s *Scanner, at unsafe.Pointer, where string) {
	if !c.nullable && s.Null() {
		if s.Void == "" {
			s.Void = where
		}
		return
	}
	c.read(s, at)
}

func list(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	elem := kind.Elem()
	inner, err := codecOf(elem, tag, above)
	if err != nil {
		return codec{}, err
	}
	size := elem.Size()
	return codec{
		kind:     types.ListOf(inner.kind),
		nullable: true,
		read: func(s *Scanner, at unsafe.Pointer) {
			target := reflect.NewAt(kind, at).Elem()
			if s.Null() {
				target.SetZero()
				return
			}
			target.Set(reflect.MakeSlice(kind, 0, 4))
			s.Items(func() {
				n := target.Len()
				target.Grow(1)
				target.SetLen(n + 1)
				slot := target.Index(n)
				slot.SetZero()
				inner.item(s, slot.Addr().UnsafePointer(), "an item")
			})
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			items := (*slice)(at)
			if items.data == nil {
				return append(dst, "null"...)
			}
			dst = append(dst, '[')
			for i := range items.len {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = inner.write(dst, unsafe.Add(items.data, uintptr(i)*size), &t.Columns[0].Type)
			}
			return append(dst, ']')
		},
	}, nil
}

// slice is how Go keeps one.
type slice struct {
	data unsafe.Pointer
	len  int
	cap  int
}

func array(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	elem := kind.Elem()
	inner, err := codecOf(elem, tag, above)
	if err != nil {
		return codec{}, err
	}
	told := types.ListOf(inner.kind)
	told.Kind, told.Width = types.FixedList, kind.Len()
	return codec{
		kind: told,
		read: func(s *Scanner, at unsafe.Pointer) {
			i := 0
			s.Items(func() {
				if i >= told.Width {
					s.Fail("there are more than %d items", told.Width)
					return
				}
				inner.item(s, unsafe.Add(at, uintptr(i)*elem.Size()), "an item")
				i++
			})
			if i != told.Width {
				s.Fail("there are %d items, not %d", i, told.Width)
			}
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			dst = append(dst, '[')
			for i := range told.Width {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = inner.write(dst, unsafe.Add(at, uintptr(i)*elem.Size()), &t.Columns[0].Type)
			}
			return append(dst, ']')
		},
	}, nil
}

func mapping(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	key, err := codecOf(kind.Key(), "", above)
	value, err2 := codecOf(kind.Elem(), tag, above)
	if err != nil || err2 != nil {
		return codec{}, orElse(err, err2)
	}
	return codec{
		kind:     types.MapOf(key.kind, value.kind),
		nullable: true,
		read: func(s *Scanner, at unsafe.Pointer) {
			target := reflect.NewAt(kind, at).Elem()
			if s.Null() {
				target.SetZero()
				return
			}
			target.Set(reflect.MakeMap(kind))
			s.Items(func() {
				k, v := reflect.New(kind.Key()), reflect.New(kind.Elem())
				s.Expect('[')
				key.item(s, k.UnsafePointer(), "a key")
				s.Expect(',')
				value.item(s, v.UnsafePointer(), "a value of a map")
				s.Expect(']')
				target.SetMapIndex(k.Elem(), v.Elem())
			})
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			target := reflect.NewAt(kind, at).Elem()
			if target.IsNil() {
				return append(dst, "null"...)
			}
			dst = append(dst, '[')
			k, v := reflect.New(kind.Key()), reflect.New(kind.Elem())
			for i, pair := range sortedKeys(target) {
				if i > 0 {
					dst = append(dst, ',')
				}
				k.Elem().Set(pair)
				v.Elem().Set(target.MapIndex(pair))
				dst = append(dst, '[')
				dst = key.write(dst, k.UnsafePointer(), &t.Columns[0].Type)
				dst = append(dst, ',')
				dst = value.write(dst, v.UnsafePointer(), &t.Columns[1].Type)
				dst = append(dst, ']')
			}
			return append(dst, ']')
		},
	}, nil
}

func structure(kind reflect.Type, above []reflect.Type) (codec, error) {
	plan, err := planOf(kind, above)
	if err != nil {
		return codec{}, err
	}
	if plan.Rest >= 0 {
		return codec{}, fmt.Errorf("%s keeps the rest of a row: only a row itself can", kind)
	}
	columns := make([]types.Column, len(plan.Fields))
	for i := range plan.Fields {
		columns[i] = plan.Fields[i].Column
	}
	return codec{
		kind: types.Type{Kind: types.Struct, Columns: columns},
		read: func(s *Scanner, at unsafe.Pointer) {
			s.Members(func(name string) {
				i, ok := plan.byName[name]
				if !ok {
					s.skip(0)
					return
				}
				plan.Fields[i].item(s, unsafe.Add(at, plan.Fields[i].Offset), name)
			})
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			dst = append(dst, '{')
			for i := range plan.Fields {
				dst = append(dst, plan.Fields[i].lead(i == 0)...)
				inner := &plan.Fields[i].Column.Type
				if i < len(t.Columns) {
					inner = &t.Columns[i].Type
				}
				dst = plan.Fields[i].write(dst, unsafe.Add(at, plan.Fields[i].Offset), inner)
			}
			return append(dst, '}')
		},
	}, nil
}

func sortedKeys(of reflect.Value) []reflect.Value {
	keys := of.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.CanInt():
			return cmp.Compare(a.Int(), b.Int())
		case a.CanUint():
			return cmp.Compare(a.Uint(), b.Uint())
		}
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return keys
}
