// Package types holds the types of columns: Arrow's, as values that can be compared, named and told apart.
package types

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a family of types.
type Kind uint8

// The kinds of columns; the names are those of Arrow.
const (
	Null Kind = iota
	Bool
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float16
	Float32
	Float64
	Decimal32
	Decimal64
	Decimal128
	Decimal256
	String
	LargeString
	StringView
	Binary
	LargeBinary
	BinaryView
	FixedBinary
	Date32
	Date64
	Time32
	Time64
	Timestamp
	Duration
	List
	LargeList
	FixedList
	Struct
	Map
	Dictionary
	Other
)

var names = [...]string{
	"null", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "halffloat", "float",
	"double", "decimal32", "decimal64", "decimal128", "decimal256", "string", "large_string", "string_view", "binary",
	"large_binary", "binary_view", "fixed_size_binary", "date32[day]", "date64[ms]", "time32", "time64", "timestamp",
	"duration", "list", "large_list", "fixed_size_list", "struct", "map", "dictionary", "other",
}

// Unit is the unit of times and durations.
type Unit uint8

// The units, as Arrow numbers them.
const (
	Second Unit = iota
	Milli
	Micro
	Nano
)

func (u Unit) String() string { return [...]string{"s", "ms", "us", "ns"}[u&3] }

// PerSecond is how many of the unit are a second.
func (u Unit) PerSecond() int64 { return [...]int64{1, 1e3, 1e6, 1e9}[u&3] }

// Type is the type of a column.
type Type struct {
	Kind      Kind
	Unit      Unit     // times, timestamps, durations
	Zone      string   // timestamps; empty: without a zone
	Precision int      // decimals
	Scale     int      // decimals
	Width     int      // bytes of fixed_size_binary, items of fixed_size_list
	Columns   []Column // the item of a list, the fields of a struct, key and value of a map, the value of a dictionary
	Index     Kind     // of a dictionary
	Ordered   bool     // dictionaries, keys of a map
	Name      string   // of a type that is not known here
}

// Column is a column of a schema, or a field of a struct.
type Column struct {
	Name     string
	Type     Type
	Nullable bool
	Metadata map[string]string
}

// Schema is the columns of a batch. Open: rows may bring others.
type Schema struct {
	Columns []Column
	Open    bool
}

// Of is a type without further words.
func Of(kind Kind) Type { return Type{Kind: kind} }

// ListOf is a list of items.
func ListOf(item Type) Type {
	return Type{Kind: List, Columns: []Column{{Name: "item", Type: item, Nullable: true}}}
}

// MapOf is a map.
func MapOf(key, value Type) Type {
	return Type{Kind: Map, Columns: []Column{{Name: "key", Type: key}, {Name: "value", Type: value, Nullable: true}}}
}

// IsInteger tells whole numbers.
func (k Kind) IsInteger() bool { return k >= Int8 && k <= Uint64 }

// IsFloat tells floating numbers.
func (k Kind) IsFloat() bool { return k >= Float16 && k <= Float64 }

// IsDecimal tells decimals.
func (k Kind) IsDecimal() bool { return k >= Decimal32 && k <= Decimal256 }

// IsText tells texts.
func (k Kind) IsText() bool { return k >= String && k <= StringView }

// IsBinary tells bytes.
func (k Kind) IsBinary() bool { return k >= Binary && k <= FixedBinary }

// IsList tells lists.
func (k Kind) IsList() bool { return k >= List && k <= FixedList }

// Plain is the type of the values: of a dictionary its values' type, else the type itself.
func (t Type) Plain() Type {
	if t.Kind == Dictionary && len(t.Columns) == 1 {
		return t.Columns[0].Type
	}
	return t
}

// Equal compares with nullability and names of inner columns, without metadata.
func (t Type) Equal(other Type) bool {
	same := t.Kind == other.Kind && t.Unit == other.Unit && t.Zone == other.Zone && t.Precision == other.Precision
	same = same && t.Scale == other.Scale && t.Width == other.Width && t.Index == other.Index && t.Name == other.Name
	return same && slices.EqualFunc(t.Columns, other.Columns, func(a, b Column) bool {
		return a.Name == b.Name && a.Nullable == b.Nullable && a.Type.Equal(b.Type)
	})
}

// String is the type's name as Arrow writes it.
func (t Type) String() string {
	name := names[min(int(t.Kind), len(names)-1)]
	switch t.Kind {
	case Decimal32, Decimal64, Decimal128, Decimal256:
		return fmt.Sprintf("%s(%d, %d)", name, t.Precision, t.Scale)
	case FixedBinary:
		return fmt.Sprintf("%s[%d]", name, t.Width)
	case Timestamp:
		if t.Zone != "" {
			return fmt.Sprintf("%s[%s, tz=%s]", name, t.Unit, t.Zone)
		}
		return fmt.Sprintf("%s[%s]", name, t.Unit)
	case Time32, Time64, Duration:
		return fmt.Sprintf("%s[%s]", name, t.Unit)
	case List, LargeList, Struct:
		return name + "<" + fields(t.Columns) + ">"
	case FixedList:
		return fmt.Sprintf("%s<%s>[%d]", name, fields(t.Columns), t.Width)
	case Map:
		if len(t.Columns) == 2 {
			return fmt.Sprintf("map<%s, %s>", t.Columns[0].Type, t.Columns[1].Type)
		}
	case Dictionary:
		ordered := 0
		if t.Ordered {
			ordered = 1
		}
		return fmt.Sprintf("dictionary<values=%s, indices=%s, ordered=%d>", t.Plain(), Of(t.Index), ordered)
	case Other:
		return t.Name
	}
	return name
}

func fields(columns []Column) string {
	var text strings.Builder
	for i, column := range columns {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%s: %s", column.Name, column.Type)
		if !column.Nullable {
			text.WriteString(" not null")
		}
	}
	return text.String()
}

// Index is the place of a column; -1: there is none.
func (s Schema) Index(name string) int {
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// Column is the column of this name, if there is one.
func (s Schema) Column(name string) (Column, bool) {
	if i := s.Index(name); i >= 0 {
		return s.Columns[i], true
	}
	return Column{}, false
}

// Names are the names of the columns, in order.
func (s Schema) Names() []string {
	found := make([]string, len(s.Columns))
	for i := range s.Columns {
		found[i] = s.Columns[i].Name
	}
	return found
}

// With is the schema with this column replaced in its place, or added at the end.
func (s Schema) With(columns ...Column) Schema {
	s.Columns = slices.Clone(s.Columns)
	for _, column := range columns {
		if i := s.Index(column.Name); i >= 0 {
			s.Columns[i] = column
		} else {
			s.Columns = append(s.Columns, column)
		}
	}
	return s
}

// Without is the schema without these columns.
func (s Schema) Without(names ...string) Schema {
	s.Columns = slices.DeleteFunc(slices.Clone(s.Columns), func(column Column) bool {
		return slices.Contains(names, column.Name)
	})
	return s
}
