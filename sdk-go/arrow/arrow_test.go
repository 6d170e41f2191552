package arrow_test

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/arrow"
	"dataflare.dev/sdk-go/internal/encoding"
	"dataflare.dev/sdk-go/internal/sample"
)

// crossed is a batch that has travelled as Arrow.
func crossed(t *testing.T, batch dataflare.Batch) dataflare.Batch {
	t.Helper()
	record, err := arrow.Of(batch)
	if err != nil {
		t.Fatal(err)
	}
	part, err := encoding.Arrow.AppendCells(nil, record, record.Schema())
	if err != nil {
		t.Fatal(err)
	}
	cells, err := encoding.Arrow.Decode(part)
	if err != nil {
		t.Fatal(err)
	}
	return dataflare.BatchOf(cells)
}

func TestAStructCrossesAsColumns(t *testing.T) {
	given := sample.Rows()
	got, err := dataflare.RowsOf[sample.Everything](crossed(t, dataflare.Rows(given...)))
	if err != nil || !reflect.DeepEqual(got, given) {
		t.Errorf("%+v\nbecame %+v (%v)", given[0], got, err)
	}
}

func TestANullIsToldUnlessItsFieldTakesNulls(t *testing.T) {
	type loose struct{ N *int64 }
	type strict struct{ N int64 }
	one := int64(1)
	batch := crossed(t, dataflare.Rows(loose{&one}, loose{nil}))
	if _, err := dataflare.RowsOf[strict](batch); err == nil {
		t.Error("a null was read as a number")
	}
	if rows, err := dataflare.RowsOf[loose](batch); err != nil || *rows[0].N != 1 || rows[1].N != nil {
		t.Errorf("%v, %v", rows, err)
	}
}

func TestANumberThatDoesNotFitIsRefused(t *testing.T) {
	type wide struct{ N int64 }
	type narrow struct{ N int8 }
	type natural struct{ N uint64 }
	for _, n := range []int64{128, -129, math.MaxInt64} {
		if _, err := dataflare.RowsOf[narrow](crossed(t, dataflare.Rows(wide{n}))); err == nil {
			t.Errorf("%d was read as int8", n)
		}
	}
	if _, err := dataflare.RowsOf[natural](crossed(t, dataflare.Rows(wide{-1}))); err == nil {
		t.Error("-1 was read as uint64")
	}
	if _, err := dataflare.RowsOf[wide](crossed(t, dataflare.Rows(natural{math.MaxUint64}))); err == nil {
		t.Error("2^64-1 was read as int64")
	}
}

func TestColumnsAreReadReplacedAndTaken(t *testing.T) {
	type row struct {
		N int64
		T string
	}
	record, err := arrow.Of(crossed(t, dataflare.Rows(row{1, "a"}, row{2, "b"}, row{3, "c"})))
	if err != nil {
		t.Fatal(err)
	}
	column, err := record.Column("n")
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := arrow.Numbers[int64](column)
	if err != nil || !slices.Equal(numbers, []int64{1, 2, 3}) {
		t.Fatal(numbers, err)
	}
	if _, err := arrow.Numbers[float64](column); err == nil {
		t.Error("whole numbers were read as floating ones")
	}
	halves := make([]float64, len(numbers))
	for i, n := range numbers {
		halves[i] = float64(n) / 2
	}
	made, err := record.With("half", arrow.ArrayOfNumbers(halves))
	if err != nil {
		t.Fatal(err)
	}
	made, err = made.Without("n").Filter([]bool{true, false, true})
	if err != nil {
		t.Fatal(err)
	}
	type half struct {
		T    string
		Half float64
	}
	rows, err := dataflare.RowsOf[half](made.Batch())
	if err != nil || !slices.Equal(rows, []half{{"a", 0.5}, {"c", 1.5}}) {
		t.Errorf("%v, %v", rows, err)
	}
	if _, err := made.With("x", column); err == nil {
		t.Error("a column of another length was taken")
	}
	texts, err := arrow.ArrayOf([]*string{nil, &rows[0].T})
	if err != nil || texts.Nulls() != 1 || texts.Text(1) != "a" {
		t.Errorf("%v, %v", texts, err)
	}
	if like := arrow.ArrayOfNumbers([]int64{1, 2}).NullLike(texts); !like.IsNull(0) || like.Value(1) != int64(2) {
		t.Errorf("%v", like)
	}
}

func TestRowsAreTakenInAnyOrderWhateverTheirTypes(t *testing.T) {
	given := sample.Rows()
	given[1] = sample.Everything{Dec: "0.00", Text: "second"}
	record, err := arrow.Of(crossed(t, dataflare.Rows(given...)))
	if err != nil {
		t.Fatal(err)
	}
	taken := record.Take([]int{1, 0, 1, 1})
	for _, name := range record.Names(0) {
		for row, from := range []int{1, 0, 1, 1} {
			got, _ := taken.Value(row, name)
			if wanted, _ := record.Value(from, name); !reflect.DeepEqual(got, wanted) {
				t.Errorf("`%s` of row %d: %v, not %v", name, row, got, wanted)
			}
		}
	}
}

func TestARestGoesWithItsRow(t *testing.T) {
	type row struct {
		N int64
		T string
	}
	type kept struct {
		dataflare.Row
		M int64
	}
	rows, err := dataflare.RowsOf[dataflare.Row](crossed(t, dataflare.Rows(row{1, "a"}, row{2, "b"}, row{3, "c"})))
	if err != nil {
		t.Fatal(err)
	}
	batch := dataflare.Rows(kept{rows[2], 30}, kept{rows[0], 10}, kept{rows[1], 20})
	part, err := encoding.Arrow.AppendStructs(nil, batch.Structs(), dataflare.SchemaOf[row]().With(dataflare.ColumnOf[int64]("m")))
	if err != nil {
		t.Fatal(err)
	}
	cells, err := encoding.Arrow.Decode(part)
	if err != nil {
		t.Fatal(err)
	}
	type all struct {
		N int64
		T string
		M int64
	}
	if got, err := dataflare.RowsOf[all](dataflare.BatchOf(cells)); err != nil || !slices.Equal(got, []all{{3, "c", 30}, {1, "a", 10}, {2, "b", 20}}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestOffsetsThatPointOutsideAreRefused(t *testing.T) {
	type row struct{ T string }
	record, err := arrow.Of(dataflare.Rows(row{"abcdefgh"}, row{"ijklmnop"}))
	if err != nil {
		t.Fatal(err)
	}
	part, err := encoding.Arrow.AppendCells(nil, record, record.Schema())
	if err != nil {
		t.Fatal(err)
	}
	offsets := []byte{0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0}
	at := bytes.Index(part, offsets)
	for _, wrong := range [][]byte{{0, 0, 0, 0, 17, 0, 0, 0, 16}, {0, 0, 0, 0, 8, 0, 0, 0, 255}, {9, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 255}} {
		damaged := bytes.Clone(part)
		copy(damaged[at:], wrong)
		if _, err := encoding.Arrow.Decode(damaged); err == nil {
			t.Errorf("% x was read", wrong)
		}
	}
}

func FuzzWhateverComesIsRefusedOrRead(f *testing.F) {
	record, err := arrow.Of(dataflare.Rows(sample.Rows()...))
	if err != nil {
		f.Fatal(err)
	}
	part, err := encoding.Arrow.AppendCells(nil, record, record.Schema())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(part)
	f.Add(part[:100])
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x10, 0, 0, 0})
	f.Fuzz(func(t *testing.T, part []byte) {
		cells, err := encoding.Arrow.Decode(part)
		if err != nil {
			return
		}
		for row := range min(cells.Len(), 100) {
			for _, name := range cells.Names(row) {
				cells.Value(row, name)
			}
		}
	})
}
