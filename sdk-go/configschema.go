package dataflare

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

// schema is the JSON Schema of a configuration.
func (s *settings) schema(title, summary string) json.RawMessage {
	told := s.object()
	told["$schema"], told["title"], told["description"] = dialect, title, summary
	text, err := json.Marshal(told)
	if err != nil {
		panic("dataflare: " + err.Error())
	}
	return text
}

func (s *settings) object() map[string]any {
	properties := map[string]any{}
	required := []string{}
	for i := range s.fields {
		field := &s.fields[i]
		properties[field.name] = field.schema()
		if field.required {
			required = append(required, field.name)
		}
	}
	told := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		told["required"] = required
	}
	return told
}

func (s *setting) schema() map[string]any {
	told, err := typeSchema(bare(s.kind), s.tag)
	if err != nil {
		panic("dataflare: " + err.Error())
	}
	if s.kind.Kind() == reflect.Pointer {
		told = map[string]any{"anyOf": []any{told, map[string]any{"type": "null"}}, "default": nil}
	}
	if doc := s.tag.Get("doc"); doc != "" {
		told["description"] = doc
	}
	if s.fallback != nil {
		told["default"] = s.fallback
	}
	if s.tag.Get("advanced") == "true" {
		told["x-advanced"] = true
	}
	return told
}

// typeSchema is the JSON Schema of one type, with the bounds that its field's tags tell.
func typeSchema(kind reflect.Type, tag reflect.StructTag) (map[string]any, error) {
	told := map[string]any{}
	switch kind {
	case typeSecret:
		return map[string]any{"type": "string", "format": "password", "x-secret": true, "writeOnly": true}, nil
	case typeDuration:
		return map[string]any{"type": []string{"number", "string"}, "format": "duration", "examples": []string{"500ms"}}, nil
	case typeBytes:
		return map[string]any{"type": []string{"integer", "string"}, "format": "bytes", "examples": []string{"16MiB"}}, nil
	case typeColumns:
		list := map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
		return map[string]any{"anyOf": []any{list, map[string]any{"type": "string"}}, "format": "columns"}, nil
	case typeTime:
		return map[string]any{"type": "string", "format": "date-time"}, nil
	case typeRawJSON:
		return told, nil
	}
	low, high := "minimum", "maximum"
	switch kind.Kind() {
	case reflect.Bool:
		told["type"] = "boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		told["type"] = "integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		told["type"], told["minimum"] = "integer", 0
	case reflect.Float32, reflect.Float64:
		told["type"] = "number"
	case reflect.String:
		told["type"], low, high = "string", "minLength", "maxLength"
		if form := tag.Get("pattern"); form != "" {
			told["pattern"] = form // the host checks it: an engine for it would make every plugin larger
		}
	case reflect.Slice:
		items, err := typeSchema(bare(kind.Elem()), "")
		if err != nil {
			return nil, err
		}
		told["type"], told["items"], low, high = "array", items, "minItems", "maxItems"
	case reflect.Map:
		values, err := typeSchema(bare(kind.Elem()), "")
		if err != nil || kind.Key().Kind() != reflect.String {
			return nil, errors.Join(err, fmt.Errorf("the keys of a mapping are texts, in %s", kind))
		}
		told["type"], told["additionalProperties"], low, high = "object", values, "minProperties", "maxProperties"
	case reflect.Struct:
		return settingsOf(kind).object(), nil
	case reflect.Interface:
	default:
		return nil, fmt.Errorf("%s is not the type of a setting", kind)
	}
	for word, text := range map[string]string{low: tag.Get("min"), high: tag.Get("max")} {
		if text == "" {
			continue
		}
		bound := number(text, kind)
		if math.IsNaN(bound) {
			return nil, fmt.Errorf("%q is not a bound", text)
		}
		told[word] = bound
	}
	if allowed := choicesOf(kind, tag); allowed != nil {
		told["enum"] = literals(allowed, kind)
	}
	return told, nil
}

func literals(allowed []string, kind reflect.Type) []json.RawMessage {
	found := make([]json.RawMessage, len(allowed))
	for i, each := range allowed {
		found[i] = literal(kind, each)
	}
	return found
}

// choicesOf is what a field may be: by its tag `choices:"a,b"`, or by its type.
func choicesOf(kind reflect.Type, tag reflect.StructTag) []string {
	if text, ok := tag.Lookup("choices"); ok {
		return strings.Split(text, ",")
	}
	if bare(kind).Implements(typeChoices) {
		return reflect.Zero(bare(kind)).Interface().(Choices).Choices()
	}
	return nil
}

// number is a bound, as it stands in a tag; NaN: it is none.
func number(text string, kind reflect.Type) float64 {
	switch kind {
	case typeDuration:
		if span, err := parseSpan(nil, text); err == nil {
			return float64(span)
		}
	case typeBytes:
		if size, err := parseSize(nil, text); err == nil {
			return float64(size)
		}
	default:
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	}
	return math.NaN()
}

var (
	spans = map[string]time.Duration{
		"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute,
		"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	}
	errSpan = errors.New("expected a duration such as 500ms, 1s, 2m or 1h")
	errSize = errors.New("expected a size such as 16MiB, 1MB or 4096")
)

// measured cuts a number and the letters behind it off a text; ok is false where there is none.
func measured(text string) (n float64, unit, rest string, ok bool) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789."))
	n, err := strconv.ParseFloat(text[:digits], 64)
	rest = strings.TrimLeft(text[digits:], "abcdefghijklmnopqrstuvwxyz")
	return n, text[digits : len(text)-len(rest)], rest, err == nil
}

// parseSpan reads a duration: 500ms, 1h30m, or a number of seconds.
func parseSpan(given json.RawMessage, text string) (time.Duration, error) {
	if text == "" {
		text = string(given)
	}
	text = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), " ", ""))
	if text == "" {
		return 0, errSpan
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds < 0 || seconds > 9e9 || math.IsNaN(seconds) {
			return 0, errSpan
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	total := 0.0
	for text != "" {
		n, unit, rest, ok := measured(text)
		per, known := spans[unit]
		if !ok || !known {
			return 0, errSpan
		}
		total, text = total+n*float64(per), rest
	}
	if total > math.MaxInt64 {
		return 0, errSpan
	}
	return time.Duration(total), nil
}

// parseSize reads a number of bytes: 16MiB (1024s), 1MB (1000s), or a number.
func parseSize(given json.RawMessage, text string) (int64, error) {
	if text == "" {
		text = string(given)
	}
	n, unit, rest, ok := measured(strings.ToLower(strings.ReplaceAll(text, " ", "")))
	unit = strings.TrimSuffix(unit, "b")
	base := 1000.0
	if binary, ok := strings.CutSuffix(unit, "i"); ok {
		unit, base = binary, 1024
	}
	power := slices.Index([]string{"", "k", "m", "g", "t"}, unit)
	if !ok || rest != "" || power < 0 {
		return 0, errSize
	}
	size := n * math.Pow(base, float64(power))
	if size > math.MaxInt64 {
		return 0, errSize
	}
	return int64(math.Round(size)), nil
}
