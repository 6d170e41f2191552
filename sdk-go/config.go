package dataflare

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"dataflare.dev/sdk-go/internal/rows"
)

// Secret is a value of a configuration that is never shown: String and JSON hide it.
type Secret struct{ value string }

// Reveal is the value itself.
func (s Secret) Reveal() string { return s.value }

func (s Secret) String() string { return "***" }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"***"`), nil }

// Columns is names of columns in a configuration; a single one may be written without a list.
type Columns []string

// Bytes is a number of bytes in a configuration: 16MiB, 1MB, or a number.
type Bytes int64

// Choices may be implemented by the type of a field: what it can be.
type Choices interface{ Choices() []string }

// settings is a struct as a configuration: its JSON Schema, and how it is read.
type settings struct {
	kind   reflect.Type
	fields []setting
}

// setting is one field of a configuration.
type setting struct {
	name     string
	index    []int
	kind     reflect.Type
	tag      reflect.StructTag
	required bool
	fallback json.RawMessage
	inner    *settings // a nested struct
}

var (
	typeSecret   = reflect.TypeFor[Secret]()
	typeColumns  = reflect.TypeFor[Columns]()
	typeBytes    = reflect.TypeFor[Bytes]()
	typeDuration = reflect.TypeFor[time.Duration]()
	typeTime     = reflect.TypeFor[time.Time]()
	typeRawJSON  = reflect.TypeFor[json.RawMessage]()
	typeChoices  = reflect.TypeFor[Choices]()
)

// settingsOf reads the tags of a struct: json (the name), doc, default, min, max, choices, advanced. A field is
// required unless it has a default, is a pointer, or says `omitempty` or `omitzero`.
func settingsOf(kind reflect.Type) *settings {
	made := &settings{kind: kind}
	if kind.Kind() != reflect.Struct {
		panic(fmt.Sprintf("dataflare: a configuration is a struct, not %s", kind))
	}
	for _, field := range reflect.VisibleFields(kind) {
		if !field.IsExported() || field.Anonymous && field.Type.Kind() == reflect.Struct && field.Tag.Get("json") == "" {
			continue
		}
		name, words, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = rows.SnakeCase(field.Name)
		}
		one := setting{name: name, index: field.Index, kind: field.Type, tag: field.Tag}
		fallback, has := field.Tag.Lookup("default")
		optional := strings.Contains(words, "omitempty") || strings.Contains(words, "omitzero")
		one.required = !has && !optional && field.Type.Kind() != reflect.Pointer
		if inner := bare(field.Type); isNested(inner) {
			one.inner = settingsOf(inner)
			one.required = one.required && slices.ContainsFunc(one.inner.fields, func(s setting) bool { return s.required })
		}
		if has {
			one.fallback = literal(field.Type, fallback)
			var wrong []*Problem
			one.set(reflect.New(kind).Elem(), one.fallback, "/"+name, &wrong)
			if len(wrong) > 0 {
				panic(fmt.Sprintf("dataflare: %s.%s: its default: %v", kind, field.Name, wrong[0]))
			}
		}
		if _, err := typeSchema(bare(field.Type), field.Tag); err != nil {
			panic(fmt.Sprintf("dataflare: %s.%s: %v", kind, field.Name, err))
		}
		made.fields = append(made.fields, one)
	}
	return made
}

func bare(kind reflect.Type) reflect.Type {
	if kind.Kind() == reflect.Pointer {
		return kind.Elem()
	}
	return kind
}

func isNested(kind reflect.Type) bool {
	return kind.Kind() == reflect.Struct && kind != typeSecret && kind != typeTime
}

// literal is a default, as it stands in a tag, as JSON: texts need no quotes there.
func literal(kind reflect.Type, text string) json.RawMessage {
	kind = bare(kind)
	isText := kind.Kind() == reflect.String || kind == typeDuration || kind == typeBytes || kind == typeSecret || kind == typeTime
	if isText || !json.Valid([]byte(text)) {
		quoted, _ := json.Marshal(text)
		return quoted
	}
	return json.RawMessage(text)
}

func (s *settings) has(name string) bool {
	return slices.ContainsFunc(s.fields, func(field setting) bool { return field.name == name })
}

// columns is what a field of key columns holds.
func (s *settings) columns(config any, name string) []string {
	for i := range s.fields {
		if s.fields[i].name != name {
			continue
		}
		switch value := reflect.ValueOf(config).FieldByIndex(s.fields[i].index); {
		case value.Kind() == reflect.String:
			return []string{value.String()}
		case value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.String:
			found := make([]string, value.Len())
			for i := range found {
				found[i] = value.Index(i).String()
			}
			return found
		}
	}
	return nil
}
