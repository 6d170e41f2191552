package rows

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"dataflare.dev/sdk-go/internal/types"
)

// Pair is an entry of a map.
type Pair struct{ Key, Value any }

// ReadValue reads a value by its type: int64, uint64, float64, bool, string, []byte, Date, TimeOfDay, time.Time,
// time.Duration, Decimal, []any, map[string]any, []Pair, nil.
func ReadValue(s *Scanner, kind types.Type) any {
	if s.Null() {
		return nil
	}
	switch k := kind.Kind; {
	case k == types.Bool:
		return s.Bool()
	case k >= types.Uint8 && k <= types.Uint64:
		return s.Uint()
	case k.IsInteger():
		return s.Int()
	case k.IsFloat():
		return s.Float()
	case k.IsDecimal():
		return convert(s, parseDecimal)
	case k.IsText():
		return s.String()
	case k.IsBinary():
		return convert(s, parseBytes)
	case k == types.Date32, k == types.Date64:
		return convert(s, parseDate)
	case k == types.Time32, k == types.Time64:
		return convert(s, parseClock)
	case k == types.Timestamp:
		return convert(s, parseTime)
	case k == types.Duration:
		return convert(s, parseDuration)
	case k.IsList():
		items := []any{}
		s.Items(func() { items = append(items, ReadValue(s, kind.Columns[0].Type.Plain())) })
		return items
	case k == types.Struct:
		inner := types.Schema{Columns: kind.Columns}
		made := map[string]any{}
		s.Members(func(name string) {
			column, ok := inner.Column(name)
			if !ok {
				column.Type = types.Of(types.Other)
			}
			made[name] = ReadValue(s, column.Type.Plain())
		})
		return made
	case k == types.Map:
		pairs := []Pair{}
		s.Items(func() {
			s.Expect('[')
			key := ReadValue(s, kind.Columns[0].Type.Plain())
			s.Expect(',')
			pairs = append(pairs, Pair{key, ReadValue(s, kind.Columns[1].Type.Plain())})
			s.Expect(']')
		})
		return pairs
	}
	return readAny(s, 0)
}

// readAny reads a value of which nothing is known.
func readAny(s *Scanner, depth int) any {
	if depth > maxDepth {
		s.Fail("values are nested too deep")
		return nil
	}
	switch s.Peek() {
	case '"':
		return s.String()
	case '{':
		made := map[string]any{}
		s.Members(func(name string) { made[name] = readAny(s, depth+1) })
		return made
	case '[':
		items := []any{}
		s.Items(func() { items = append(items, readAny(s, depth+1)) })
		return items
	case 't', 'f':
		return s.Bool()
	case 'n':
		if s.Null() {
			return nil
		}
	}
	text := s.Number()
	inner := Scanner{Text: text}
	if !strings.ContainsAny(text, ".eE") && len(text) < 20 {
		if n := inner.Int(); inner.Err == nil {
			return n
		}
		inner = Scanner{Text: text}
	}
	return inner.Float()
}

// AppendValue adds any value as JSON, times in the unit of their column's type.
func AppendValue(dst []byte, value any, kind types.Type) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		if v {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case string:
		return AppendString(dst, v), nil
	case int64:
		return AppendInt(dst, v), nil
	case uint64:
		return AppendUint(dst, v), nil
	case float64:
		return AppendFloat(dst, v, 64), nil
	case float32:
		return AppendFloat(dst, float64(v), 32), nil
	case []byte:
		if v == nil {
			return append(dst, "null"...), nil
		}
		return AppendBytes(dst, v), nil
	case time.Time:
		if kind.Kind != types.Timestamp {
			kind = types.Type{Unit: types.Nano, Zone: "UTC"}
		}
		return AppendTime(dst, v, kind), nil
	case time.Duration:
		return AppendDuration(dst, v, unitOf(kind)), nil
	case TimeOfDay:
		return AppendClock(dst, v, unitOf(kind)), nil
	case Date:
		return AppendDate(dst, v), nil
	case Decimal:
		return AppendString(dst, string(v)), nil
	case json.RawMessage:
		if v == nil {
			return append(dst, "null"...), nil
		}
		return append(dst, v...), nil
	case []any:
		return appendItems(dst, v, kind)
	case map[string]any:
		return appendMembers(dst, v, kind)
	case []Pair:
		return appendPairs(dst, v, kind)
	}
	return appendReflected(dst, reflect.ValueOf(value), kind)
}

func unitOf(kind types.Type) types.Unit {
	if kind.Kind >= types.Time32 && kind.Kind <= types.Duration {
		return kind.Unit
	}
	return types.Nano
}

func inner(kind types.Type, i int) types.Type {
	if i < len(kind.Columns) {
		return kind.Columns[i].Type.Plain()
	}
	return types.Of(types.Other)
}

func appendItems(dst []byte, items []any, kind types.Type) (_ []byte, err error) {
	if items == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '[')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = AppendValue(dst, item, inner(kind, 0)); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendMembers(dst []byte, members map[string]any, kind types.Type) (_ []byte, err error) {
	if members == nil {
		return append(dst, "null"...), nil
	}
	known := types.Schema{Columns: kind.Columns}
	dst = append(dst, '{')
	for i, key := range sortedKeys(reflect.ValueOf(members)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, key.String()), ':')
		column, _ := known.Column(key.String())
		if dst, err = AppendValue(dst, members[key.String()], column.Type.Plain()); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func appendPairs(dst []byte, pairs []Pair, kind types.Type) (_ []byte, err error) {
	if pairs == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '[')
	for i, pair := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		if dst, err = AppendValue(dst, pair.Key, inner(kind, 0)); err != nil {
			return dst, err
		}
		dst = append(dst, ',')
		if dst, err = AppendValue(dst, pair.Value, inner(kind, 1)); err != nil {
			return dst, err
		}
		dst = append(dst, ']')
	}
	return append(dst, ']'), nil
}

// appendReflected adds a value of a type that only its program knows.
func appendReflected(dst []byte, value reflect.Value, kind types.Type) ([]byte, error) {
	switch value.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return AppendInt(dst, value.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return AppendUint(dst, value.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return AppendFloat(dst, value.Float(), 64), nil
	case reflect.Bool:
		return AppendValue(dst, value.Bool(), kind)
	case reflect.String:
		return AppendString(dst, value.String()), nil
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return append(dst, "null"...), nil
		}
		return AppendValue(dst, value.Elem().Interface(), kind)
	}
	made, err := codecOf(value.Type(), "", nil)
	if err != nil {
		return dst, fmt.Errorf("a value of the type %s has no form in a row: %w", value.Type(), err)
	}
	at := reflect.New(value.Type())
	at.Elem().Set(value)
	if made.kind.Kind == kind.Kind && !made.kind.Equal(kind) {
		made.kind = kind
	}
	return made.write(dst, at.UnsafePointer(), &made.kind), nil
}

// Plain is a value of a program's own type as Get gives it: its JSON, read by the type of a column.
func Plain(value any, kind types.Type) (any, error) {
	text, err := AppendValue(nil, value, kind)
	if err != nil {
		return nil, err
	}
	s := Scanner{Text: string(text)}
	plain := ReadValue(&s, kind)
	return plain, s.Err
}

// TypeOfValue is the type of a column for a value that Row.Set takes; ok is false for those that tell none.
func TypeOfValue(value any) (types.Type, bool) {
	if value == nil {
		return types.Of(types.Null), false
	}
	made, err := codecOf(reflect.TypeOf(value), "", nil)
	return made.kind, err == nil
}
