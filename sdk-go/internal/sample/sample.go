// Package sample has rows with every type, for tests.
package sample

import (
	"math"
	"time"

	"dataflare.dev/sdk-go/internal/rows"
)

// Rows are two rows.
func Rows() []Everything { return []Everything{everything(), everything()} }

// Everything is a row with every Go type that can be a column.
type Everything struct {
	B    bool
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	I    int
	U8   uint8
	U16  uint16
	U32  uint32
	U64  uint64
	F32  float32
	F64  float64
	Text string
	Raw  []byte
	At   time.Time
	Span time.Duration
	Day  rows.Date
	Tod  rows.TimeOfDay
	Dec  rows.Decimal `decimal:"10,2"`
	None *string
	Some *int64
	When *time.Time
	List []int64
	Deep [][]string
	Two  [2]float64
	In   Inner
	Map  map[string]int64
	Own  Word
}

// Word is a type of a program.
type Word string

// Inner is a struct in a row.
type Inner struct {
	A int64 `json:"a"`
	B []byte
}

func everything() Everything {
	n, at := int64(math.MaxInt64), time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC)
	return Everything{
		true, -128, -32768, math.MinInt32, math.MinInt64, 7, 255, 65535, math.MaxUint32, math.MaxUint64, 0.1, math.Inf(-1),
		"Zürich \"x\"\n\x01\u2028", []byte{0, 255}, time.Date(2026, 1, 31, 12, 30, 0, 123456000, time.UTC), -time.Nanosecond, -1,
		rows.TimeOfDay(86399999999999), "-1.50", nil, &n, &at, []int64{1, 1 << 60}, [][]string{{"a"}, {}, nil},
		[2]float64{1.5, math.Inf(1)}, Inner{1, nil}, map[string]int64{"a": 1, "b": 2}, "own",
	}
}
