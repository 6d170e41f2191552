package rows

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unsafe"

	"dataflare.dev/sdk-go/internal/types"
)

// Plan is how the rows of one struct type are read and written.
type Plan struct {
	Type   reflect.Type
	Fields []Field
	Rest   int // where the embedded Row stands in the struct; -1: there is none
	byName map[string]int
}

// Field is a field of the struct, and the column that it is.
type Field struct {
	codec
	Column types.Column
	Offset uintptr
	Type   reflect.Type
	first  string // the column's name in an object of JSON, with what stands before it
	next   string
}

func (f *Field) lead(first bool) string {
	if first {
		return f.first
	}
	return f.next
}

// Nullable tells whether the field can take a null.
func (f *Field) Nullable() bool { return f.nullable }

// ReadJSON reads a value from its JSON.
func (f *Field) ReadJSON(text string, at unsafe.Pointer) error {
	s := Scanner{Text: text}
	f.read(&s, at)
	return s.Err
}

// AppendJSON adds a value as JSON, by the type of its column.
func (f *Field) AppendJSON(dst []byte, at unsafe.Pointer, kind *types.Type) []byte {
	return f.write(dst, at, kind)
}

// Kind is the type that a field's column has in an output: its own, or that of the output where the two only differ in
// a unit, a zone, digits.
func (p *Plan) Kind(field int, output types.Type) types.Type {
	own := p.Fields[field].Column.Type
	if plain := output.Plain(); keeps(own, plain) {
		return plain
	}
	return own
}

var typeRow = reflect.TypeFor[Row]()
var plans sync.Map // reflect.Type → *Plan

// PlanOf makes the plan of a type: a struct, or Row itself.
func PlanOf(kind reflect.Type) (*Plan, error) {
	if known, ok := plans.Load(kind); ok {
		return known.(*Plan), nil
	}
	return planOf(kind, nil)
}

// planOf is PlanOf, inside of the structs above.
func planOf(kind reflect.Type, above []reflect.Type) (*Plan, error) {
	if slices.Contains(above, kind) {
		return nil, fmt.Errorf("%s holds itself: a column cannot", kind)
	}
	plan := &Plan{Type: kind, Rest: -1, byName: map[string]int{}}
	if kind == typeRow {
		plan.Rest = 0
	} else if err := plan.fill(append(above, kind)); err != nil {
		return nil, err
	}
	known, _ := plans.LoadOrStore(kind, plan)
	return known.(*Plan), nil
}

func (p *Plan) fill(above []reflect.Type) error {
	if p.Type.Kind() != reflect.Struct {
		return fmt.Errorf("%s is not a struct: rows are structs, or dataflare.Row", p.Type)
	}
	for _, field := range reflect.VisibleFields(p.Type) {
		if len(field.Index) > 1 && p.throughPointer(field.Index) {
			return fmt.Errorf("%s embeds a pointer: embed the struct itself", p.Type)
		}
		if field.Type == typeRow && field.Anonymous {
			p.Rest = int(p.offset(field.Index))
			continue
		}
		if p.inside(field.Index) || !field.IsExported() || field.Anonymous && field.Type.Kind() == reflect.Struct && field.Tag.Get("json") == "" {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = SnakeCase(field.Name)
		}
		made, err := codecOf(field.Type, field.Tag, above)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", p.Type, field.Name, err)
		}
		if _, twice := p.byName[name]; twice {
			return fmt.Errorf("%s has two fields that are the column `%s`", p.Type, name)
		}
		p.byName[name] = len(p.Fields)
		column := types.Column{Name: name, Type: made.kind, Nullable: true, Metadata: metadata(field.Tag)}
		quoted := string(AppendString(nil, name)) + ":"
		p.Fields = append(p.Fields, Field{made, column, p.offset(field.Index), field.Type, quoted, "," + quoted})
	}
	if len(p.Fields) == 0 && p.Rest < 0 {
		return fmt.Errorf("%s has no exported fields: they are the columns of its rows", p.Type)
	}
	return nil
}

// inside tells fields of the embedded Row itself.
func (p *Plan) inside(index []int) bool {
	kind := p.Type
	for _, i := range index[:len(index)-1] {
		if kind = kind.Field(i).Type; kind == typeRow {
			return true
		}
	}
	return false
}

func (p *Plan) throughPointer(index []int) bool {
	kind := p.Type
	for _, i := range index[:len(index)-1] {
		if kind = kind.Field(i).Type; kind.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

func (p *Plan) offset(index []int) uintptr {
	kind, offset := p.Type, uintptr(0)
	for _, i := range index {
		field := kind.Field(i)
		offset += field.Offset
		kind = field.Type
	}
	return offset
}

func metadata(tag reflect.StructTag) map[string]string {
	found := map[string]string{}
	for word, key := range map[string]string{"doc": "description", "unit": "unit"} {
		if text, ok := tag.Lookup(word); ok {
			found[key] = text
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

// Schema is the columns of the rows, as far as the type tells: none of those that an embedded Row keeps.
func (p *Plan) Schema() types.Schema {
	columns := make([]types.Column, len(p.Fields))
	for i := range p.Fields {
		columns[i] = p.Fields[i].Column
	}
	return types.Schema{Columns: columns}
}

// Field is the field of a column; -1: there is none.
func (p *Plan) Field(column string) int {
	if i, ok := p.byName[column]; ok {
		return i
	}
	return -1
}

// Output is the schema of rows of this type that are made of rows of another schema: with an embedded Row, the columns
// of those, too. Times and decimals keep the type that their column has there.
func (p *Plan) Output(input types.Schema) types.Schema {
	own := p.Schema()
	for i := range own.Columns {
		known, ok := input.Column(own.Columns[i].Name)
		if ok && keeps(own.Columns[i].Type, known.Type.Plain()) {
			own.Columns[i].Type = known.Type.Plain()
		}
	}
	if p.Rest < 0 {
		return own
	}
	return input.With(own.Columns...)
}

func keeps(own, known types.Type) bool {
	sameClock := own.Kind == types.Time64 && known.Kind == types.Time32
	return own.Kind == known.Kind && (own.Kind >= types.Date32 && own.Kind <= types.Duration || own.Kind.IsDecimal()) || sameClock
}

// Misfits are the fields that rows of a schema cannot fill, and why.
func (p *Plan) Misfits(input types.Schema) []string {
	var found []string
	for i := range p.Fields {
		field := &p.Fields[i]
		column, ok := input.Column(field.Column.Name)
		switch {
		case !ok && !field.nullable && !input.Open:
			found = append(found, fmt.Sprintf("there is no column `%s`", field.Column.Name))
		case ok && !fits(field.Column.Type, column.Type.Plain()):
			found = append(found, fmt.Sprintf("the column `%s` is %s, not %s", field.Column.Name, column.Type, field.Column.Type))
		}
	}
	return found
}

// fits tells whether values of a column can be read into a Go type.
func fits(own, column types.Type) bool {
	switch a, b := own.Kind, column.Kind; {
	case b == types.Null, a == b && !a.IsList() && a != types.Struct && a != types.Map:
		return true
	case a.IsInteger():
		return b.IsInteger()
	case a.IsFloat():
		return b.IsFloat() || b.IsInteger()
	case a.IsDecimal():
		return b.IsDecimal() || b.IsInteger()
	case a.IsText():
		return b.IsText()
	case a.IsBinary():
		return b.IsBinary()
	case a == types.Date32:
		return b == types.Date64
	case a == types.Time64:
		return b == types.Time32
	case a.IsList():
		return b.IsList() && fits(own.Columns[0].Type, column.Columns[0].Type.Plain())
	case a == types.Map && b == types.Map:
		return fits(own.Columns[0].Type, column.Columns[0].Type.Plain()) && fits(own.Columns[1].Type, column.Columns[1].Type.Plain())
	case a == types.Struct && b == types.Struct:
		for _, inner := range own.Columns {
			i := slices.IndexFunc(column.Columns, func(c types.Column) bool { return c.Name == inner.Name })
			if i >= 0 && !fits(inner.Type, column.Columns[i].Type.Plain()) {
				return false
			}
		}
		return true
	}
	return false
}

// SnakeCase is how a Go name is written as the name of a column or a setting: UserID → user_id.
func SnakeCase(name string) string {
	var made strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		if unicode.IsUpper(r) {
			before := i > 0 && !unicode.IsUpper(letters[i-1])
			after := i > 0 && i+1 < len(letters) && unicode.IsLower(letters[i+1])
			if before || after {
				made.WriteByte('_')
			}
			r = unicode.ToLower(r)
		}
		made.WriteRune(r)
	}
	return made.String()
}
