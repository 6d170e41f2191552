package dataflare

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"dataflare.dev/sdk-go/internal/encoding"
	"dataflare.dev/sdk-go/internal/rows"
)

// Batch is rows that travel together. RowsOf reads them, Rows makes one.
type Batch struct{ *batch }

type batch struct {
	name   string
	given  bool // it came from the host: its name is that of its stream
	outs   []Batch
	schema Schema
	// What it holds: rows as they came (text, cells), or those of a program (plan, at).
	text  string
	cells rows.Cells
	plan  *rows.Plan
	at    func(i int) unsafe.Pointer
	len   int
	kept  any // the slice behind at
	calls *refusals
}

// refusals are the rows of a batch that were refused, by reason, in the order in which they came.
type refusals struct {
	reasons []reason
	rows    map[reason][]int
}

type reason struct{ code, message string }

// Rows makes a batch of rows: structs, or Row.
func Rows[T any](given ...T) Batch {
	return Batch{&batch{
		plan: planFor[T](),
		len:  len(given),
		at:   func(i int) unsafe.Pointer { return unsafe.Pointer(&given[i]) },
		kept: given,
	}}
}

// RowsOf is the rows of a batch. A column that is null where its field cannot be nil is an error: make the field a
// pointer to take nulls.
func RowsOf[T any](b Batch) ([]T, error) {
	found, bad, err := readRows[T](b)
	if err == nil && len(bad) > 0 {
		err = &Problem{
			Code:    "row.null",
			Message: fmt.Sprintf("`%s` of row %d is null", bad[0].Column, bad[0].Row),
			Kind:    "fatal",
			Fix:     "make the field a pointer, or reject the row before",
		}
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

func readRows[T any](b Batch) ([]T, []rows.Bad, error) {
	if b.batch == nil {
		return nil, nil, nil
	}
	if same, ok := b.kept.([]T); ok {
		return same, nil, nil
	}
	plan := planFor[T]()
	var made []T
	var bad []rows.Bad
	var err error
	if cells := b.columns(); cells != nil {
		made = make([]T, cells.Len())
		at := func(i int) unsafe.Pointer { return unsafe.Pointer(&made[i]) }
		bad, err = encoding.Arrow.Read(cells, encoding.Structs{Plan: plan, Len: len(made), At: at})
	} else {
		made = make([]T, 0, b.most())
		bad, err = b.read(plan, func() unsafe.Pointer {
			made = append(made, *new(T))
			return unsafe.Pointer(&made[len(made)-1])
		})
	}
	if err != nil {
		return nil, nil, unreadable(err)
	}
	return made, bad, nil
}

func unreadable(err error) *Problem {
	return &Problem{Code: "guest.batch", Message: "the rows of a batch cannot be read", Cause: err.Error(), Kind: "fatal"}
}

// read fills structs: those of the batch's rows.
func (b *batch) read(plan *rows.Plan, place func() unsafe.Pointer) ([]rows.Bad, error) {
	if plan.Rest < 0 && b.text != "" {
		return plan.ReadJSON(b.text, place)
	}
	cells, err := b.Cells()
	if err != nil {
		return nil, err
	}
	return plan.ReadCells(cells.(*rows.JSON), place)
}

// most is how many rows there are, or more.
func (b *batch) most() int {
	switch {
	case b.plan != nil:
		return b.len
	case b.cells != nil:
		return b.cells.Len()
	}
	return strings.Count(b.text, "{")
}

// Cells is the batch by rows and columns, whatever it holds: for packages of this module.
func (b Batch) Cells() (rows.Cells, error) {
	if b.batch == nil {
		return nil, nil
	}
	return b.batch.Cells()
}

func (b *batch) Cells() (rows.Cells, error) {
	if b.cells != nil {
		return b.cells, nil
	}
	text, schema := b.text, b.schema
	if b.plan != nil {
		schema = b.plan.Schema()
		made, err := b.appendJSON(nil, schema)
		if err != nil {
			return nil, err
		}
		text = string(made)
	}
	cells, err := rows.ParseJSON(text, schema)
	if err != nil {
		return nil, err
	}
	b.cells = cells
	return cells, nil
}

// BatchOf is a batch of cells: for packages of this module.
func BatchOf(cells rows.Cells) Batch { return Batch{&batch{cells: cells, schema: cells.Schema()}} }

// Len is the number of rows.
func (b Batch) Len() int {
	if b.batch == nil {
		return 0
	}
	if b.plan != nil {
		return b.len
	}
	cells, err := b.Cells()
	if err != nil {
		panic(unreadable(err)) // an answer of zero would lose the rows
	}
	return cells.Len()
}

// Schema is the columns of the batch.
func (b Batch) Schema() Schema {
	switch {
	case b.batch == nil:
		return Schema{}
	case b.plan != nil:
		return b.plan.Schema()
	}
	return b.schema
}

// Stream is the stream that the batch belongs to, or the output that it goes to.
func (b Batch) Stream() string {
	if b.batch == nil {
		return ""
	}
	return b.name
}

// To is the batch, meant for a named output of a processor, or a stream of a source.
func (b Batch) To(name string) Batch {
	if b.batch == nil {
		return Batch{&batch{name: name}}
	}
	copied := *b.batch
	copied.name, copied.given = name, false
	return Batch{&copied}
}

// Outs gives several batches for as many outputs.
func Outs(batches ...Batch) Batch { return Batch{&batch{outs: batches}} }

// Reject refuses a row of the batch that a function was called with: it becomes a dead letter. The function leaves it
// out of what it gives or writes.
func (b Batch) Reject(row int, code, format string, a ...any) {
	if b.batch == nil || row < 0 || row >= b.Len() {
		panic(fmt.Sprintf("dataflare: a batch of %d rows has no row %d to reject", b.Len(), row))
	}
	if b.calls == nil {
		b.calls = &refusals{}
	}
	b.calls.add(row, reason{code, fmt.Sprintf(format, a...)})
}

// Rejected is the rows that were refused, by `code: message`.
func (b Batch) Rejected() map[string][]int {
	found := map[string][]int{}
	if b.batch != nil && b.calls != nil {
		for why, rows := range b.calls.rows {
			found[why.code+": "+why.message] = rows
		}
	}
	return found
}

func (r *refusals) add(row int, why reason) {
	if r.rows == nil {
		r.rows = map[reason][]int{}
	}
	if _, known := r.rows[why]; !known {
		r.reasons = append(r.reasons, why)
	}
	known := r.rows[why]
	if n := len(known); n > 0 && known[n-1] >= row {
		for i, each := range known {
			if each == row {
				return
			}
			if each > row {
				r.rows[why] = append(known[:i:i], append([]int{row}, known[i:]...)...)
				return
			}
		}
	}
	r.rows[why] = append(known, row)
}

// rejectWords is a reject in a header.
type rejectWords struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Part    int    `json:"part"`
}

func (r *refusals) tell(parts *[][]byte) []rejectWords {
	told := []rejectWords{}
	if r == nil {
		return told
	}
	for _, why := range r.reasons {
		var numbers []byte
		for _, row := range r.rows[why] {
			numbers = binary.LittleEndian.AppendUint32(numbers, uint32(row))
		}
		told = append(told, rejectWords{why.code, why.message, len(*parts)})
		*parts = append(*parts, numbers)
	}
	return told
}

// columns is the cells of a batch that came by column; nil: it did not.
func (b *batch) columns() rows.Cells {
	if _, byRow := b.cells.(*rows.JSON); byRow || b.cells == nil {
		return nil
	}
	return b.cells
}

// appendJSON adds the batch as JSON rows, by the schema that was planned.
func (b *batch) appendJSON(dst []byte, schema Schema) ([]byte, error) {
	plan, count, at := b.plan, b.len, b.at
	switch {
	case plan == nil && b.columns() != nil:
		given := make([]Row, b.cells.Len())
		for i := range given {
			given[i] = rows.RowOf(b.cells, i)
		}
		plan, count = planFor[Row](), len(given)
		at = func(i int) unsafe.Pointer { return unsafe.Pointer(&given[i]) }
	case plan == nil && b.text == "":
		return append(dst, "[]"...), nil
	case plan == nil:
		return append(dst, b.text...), nil
	}
	i := -1
	return plan.AppendJSON(dst, schema, func() unsafe.Pointer {
		if i++; i >= count {
			return nil
		}
		return at(i)
	})
}
