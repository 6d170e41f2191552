package dataflare

import (
	"encoding/base64"
	"reflect"
	"time"

	"dataflare.dev/sdk-go/internal/ipc"
	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

// Schema is the columns of a batch; Open says that rows may bring others.
type Schema = types.Schema

// Column is a column of a schema.
type Column = types.Column

// Type is the type of a column: Arrow's.
type Type = types.Type

// Row is one row with columns that the program does not name: all of them, or, embedded in a struct, those that the
// struct has no fields for.
type Row = rows.Row

// Date is a day of the calendar, a column of dates.
type Date = rows.Date

// TimeOfDay is a time on the clock, a column of times.
type TimeOfDay = rows.TimeOfDay

// Decimal is a decimal number as text, a column of decimals: decimal128(38, 9), or as the tag says (`decimal:"10,2"`).
type Decimal = rows.Decimal

// Pair is an entry of a map, as Row.Get gives it.
type Pair = rows.Pair

// DateOf is the day of a time, in its own zone.
func DateOf(at time.Time) Date { return rows.DateOf(at) }

// ColumnOf is a column whose type is that of a Go type: ColumnOf[string]("name").
func ColumnOf[T any](name string) Column {
	return Column{Name: name, Type: TypeOf[T](), Nullable: true}
}

// TypeOf is the type of a column for a Go type. It panics for types that no column can have.
func TypeOf[T any]() Type {
	holder := reflect.StructOf([]reflect.StructField{{Name: "V", Type: reflect.TypeFor[T](), Tag: `json:"v"`}})
	plan, err := rows.PlanOf(holder)
	if err != nil {
		panic("dataflare: " + err.Error())
	}
	return plan.Fields[0].Column.Type
}

// SchemaOf is the schema of the rows of a struct type, one column for each exported field: its name is that of the
// `json` tag, or the field's in snake_case. It panics for types that are no rows.
func SchemaOf[T any]() Schema { return planFor[T]().Schema() }

func planFor[T any]() *rows.Plan {
	plan, err := rows.PlanOf(reflect.TypeFor[T]())
	if err != nil {
		panic("dataflare: " + err.Error())
	}
	return plan
}

// schemaWords is a schema in a header.
type schemaWords struct {
	Columns []columnWords `json:"columns"`
	Open    bool          `json:"open"`
	Arrow   string        `json:"arrow"`
}

type columnWords struct {
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Nullable bool              `json:"nullable"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func tell(schema Schema) schemaWords {
	words := schemaWords{Columns: make([]columnWords, len(schema.Columns)), Open: schema.Open}
	for i, column := range schema.Columns {
		words.Columns[i] = columnWords{column.Name, column.Type.String(), column.Nullable, column.Metadata}
	}
	words.Arrow = base64.StdEncoding.EncodeToString(ipc.AppendSchema(nil, schema))
	return words
}

func (w schemaWords) schema() (Schema, error) {
	message, err := base64.StdEncoding.DecodeString(w.Arrow)
	if err != nil {
		return Schema{}, badFrame("the schema in its header is not base64")
	}
	if w.Arrow == "" && len(w.Columns) == 0 {
		return Schema{Open: w.Open}, nil
	}
	schema, err := ipc.ReadSchema(message)
	if err != nil {
		return Schema{}, badFrame("the schema in its header cannot be read: %v", err)
	}
	schema.Open = w.Open
	return schema, nil
}

func tellAll(schemas map[string]Schema) map[string]schemaWords {
	told := make(map[string]schemaWords, len(schemas))
	for name, schema := range schemas {
		told[name] = tell(schema)
	}
	return told
}

func schemasOf(words map[string]schemaWords) (map[string]Schema, error) {
	found := make(map[string]Schema, len(words))
	for name, each := range words {
		schema, err := each.schema()
		if err != nil {
			return nil, err
		}
		found[name] = schema
	}
	return found, nil
}
