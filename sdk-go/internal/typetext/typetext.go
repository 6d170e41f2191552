// Package typetext reads the names of types in tests/vectors: "list<struct<a: int64, b: binary>>".
package typetext

import (
	"fmt"
	"strconv"
	"strings"

	"dataflare.dev/sdk-go/internal/types"
)

// Parse is the type of this name; it panics for one that is none.
func Parse(name string) types.Type {
	p := parser{name}
	kind := p.kind()
	if p.rest != "" {
		panic(fmt.Sprintf("%q is left over of the type %q", p.rest, name))
	}
	return kind
}

type parser struct{ rest string }

var plain = map[string]types.Kind{
	"null": types.Null, "bool": types.Bool, "int8": types.Int8, "int16": types.Int16, "int32": types.Int32,
	"int64": types.Int64, "uint8": types.Uint8, "uint16": types.Uint16, "uint32": types.Uint32, "uint64": types.Uint64,
	"float16": types.Float16, "float32": types.Float32, "float64": types.Float64, "string": types.String,
	"large_string": types.LargeString, "string_view": types.StringView, "binary": types.Binary,
	"large_binary": types.LargeBinary, "binary_view": types.BinaryView, "date32": types.Date32, "date64": types.Date64,
}

var units = map[string]types.Unit{"s": types.Second, "ms": types.Milli, "us": types.Micro, "ns": types.Nano}

func (p *parser) take(text string) bool {
	rest, ok := strings.CutPrefix(p.rest, text)
	if ok {
		p.rest = strings.TrimLeft(rest, " ")
	}
	return ok
}

func (p *parser) expect(text string) {
	if !p.take(text) {
		panic(fmt.Sprintf("%q is expected before %q", text, p.rest))
	}
}

func (p *parser) word() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool { return strings.ContainsRune("<>[](), :", r) })
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = strings.TrimLeft(p.rest[end:], " ")
	return word
}

func (p *parser) number() int {
	n, err := strconv.Atoi(p.word())
	if err != nil {
		panic(err)
	}
	return n
}

func (p *parser) kind() types.Type {
	word := p.word()
	if kind, ok := plain[word]; ok {
		return types.Of(kind)
	}
	switch word {
	case "decimal128", "decimal256":
		kind := types.Type{Kind: types.Decimal128}
		if word == "decimal256" {
			kind.Kind = types.Decimal256
		}
		p.expect("(")
		kind.Precision = p.number()
		p.expect(",")
		kind.Scale = p.number()
		p.expect(")")
		return kind
	case "timestamp", "time", "duration":
		p.expect("[")
		kind := types.Type{Kind: types.Timestamp, Unit: units[p.word()]}
		if p.take(",") {
			kind.Zone = p.word()
		}
		p.expect("]")
		if word == "duration" {
			kind.Kind = types.Duration
		}
		if word == "time" {
			kind.Kind = types.Time64
			if kind.Unit < types.Micro {
				kind.Kind = types.Time32
			}
		}
		return kind
	case "fixed_size_binary":
		p.expect("[")
		kind := types.Type{Kind: types.FixedBinary, Width: p.number()}
		p.expect("]")
		return kind
	}
	p.expect("<")
	var kind types.Type
	switch word {
	case "list", "fixed_size_list", "large_list":
		kind = types.ListOf(p.kind())
	case "dictionary":
		value := types.Column{Name: "value", Type: p.kind(), Nullable: true}
		kind = types.Type{Kind: types.Dictionary, Index: types.Int32, Columns: []types.Column{value}}
	case "map":
		key := p.kind()
		p.expect(",")
		kind = types.MapOf(key, p.kind())
	case "struct":
		kind.Kind = types.Struct
		for len(kind.Columns) == 0 || p.take(",") {
			name := p.word()
			p.expect(":")
			kind.Columns = append(kind.Columns, types.Column{Name: name, Type: p.kind(), Nullable: true})
		}
	default:
		panic(fmt.Sprintf("there is no type %q", word))
	}
	p.expect(">")
	switch word {
	case "large_list":
		kind.Kind = types.LargeList
	case "fixed_size_list":
		p.expect("[")
		kind.Kind, kind.Width = types.FixedList, p.number()
		p.expect("]")
	}
	return kind
}
