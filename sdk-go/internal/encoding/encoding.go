// Package encoding is where an encoding beside JSON registers itself, so that only plugins that import it carry it.
package encoding

import (
	"unsafe"

	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

// Structs are rows of a program, one behind the other.
type Structs struct {
	Plan *rows.Plan
	Len  int
	At   func(i int) unsafe.Pointer
}

// Encoding is a way that batches travel.
type Encoding interface {
	// Decode reads a part. What it gives does not share the part's memory.
	Decode(part []byte) (rows.Cells, error)
	// Read fills structs, one behind the other, from cells of any kind.
	Read(cells rows.Cells, into Structs) ([]rows.Bad, error)
	// AppendCells and AppendStructs add a batch as a part, in the columns of a schema.
	AppendCells(dst []byte, cells rows.Cells, schema types.Schema) ([]byte, error)
	AppendStructs(dst []byte, given Structs, schema types.Schema) ([]byte, error)
}

// Arrow is set by the package arrow.
var Arrow Encoding
