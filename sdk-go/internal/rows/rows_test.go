package rows_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/sample"
	"dataflare.dev/sdk-go/internal/types"
	"dataflare.dev/sdk-go/internal/typetext"
)

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile("../../../tests/vectors/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatal(err)
	}
}

func oneColumn(t *testing.T, kind types.Type, value string) *rows.JSON {
	t.Helper()
	schema := types.Schema{Columns: []types.Column{{Name: "v", Type: kind, Nullable: true}}}
	cells, err := rows.ParseJSON(`[{"v":`+value+`}]`, schema)
	if err != nil {
		t.Fatal(err)
	}
	return cells
}

func same(t *testing.T, got []byte, wanted string) bool {
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Errorf("%s: %v", got, err)
		return false
	}
	if err := json.Unmarshal([]byte(wanted), &b); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(a, b)
}

func TestEveryTypeKeepsItsValuesInJSON(t *testing.T) {
	var told []struct {
		Type string          `json:"type"`
		JSON json.RawMessage `json:"json"`
	}
	vectors(t, "json_rows.json", &told)
	for _, each := range told {
		kind := typetext.Parse(each.Type).Plain()
		value, ok := oneColumn(t, kind, string(each.JSON)).Value(0, "v")
		if !ok {
			t.Errorf("%s: %s cannot be read", each.Type, each.JSON)
			continue
		}
		written, err := rows.AppendValue(nil, value, kind)
		if err != nil || !same(t, written, string(each.JSON)) {
			t.Errorf("%s: %s became %v, and that %s (%v)", each.Type, each.JSON, value, written, err)
		}
	}
}

func TestKeysAreCanonicalBytes(t *testing.T) {
	var told []struct {
		Types  []string          `json:"types"`
		Values []json.RawMessage `json:"values"`
		Key    string            `json:"key"`
	}
	vectors(t, "keys.json", &told)
	for _, each := range told {
		var schema types.Schema
		row := map[string]json.RawMessage{}
		for i, name := range each.Types {
			column := string(rune('a' + i))
			schema.Columns = append(schema.Columns, types.Column{Name: column, Type: typetext.Parse(name)})
			row[column] = each.Values[i]
		}
		text, _ := json.Marshal([]any{row})
		cells, err := rows.ParseJSON(string(text), schema)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := rows.Keys(cells, schema.Names())
		if err != nil || hex.EncodeToString(keys[0]) != each.Key {
			t.Errorf("%s %s: %x, not %s (%v)", each.Types, each.Values, keys, each.Key, err)
		}
	}
}

func readAll[T any](t *testing.T, text string) ([]T, []rows.Bad, error) {
	t.Helper()
	plan, err := rows.PlanOf(reflect.TypeFor[T]())
	if err != nil {
		t.Fatal(err)
	}
	var made []T
	place := func() unsafe.Pointer {
		made = append(made, *new(T))
		return unsafe.Pointer(&made[len(made)-1])
	}
	if plan.Rest < 0 {
		bad, err := plan.ReadJSON(text, place)
		return made, bad, err
	}
	cells, err := rows.ParseJSON(text, types.Schema{Open: true})
	if err != nil {
		return nil, nil, err
	}
	bad, err := plan.ReadCells(cells, place)
	return made, bad, err
}

func write[T any](t *testing.T, given ...T) string {
	t.Helper()
	plan, err := rows.PlanOf(reflect.TypeFor[T]())
	if err != nil {
		t.Fatal(err)
	}
	i := -1
	text, err := plan.AppendJSON(nil, types.Schema{Open: true}, func() unsafe.Pointer {
		if i++; i == len(given) {
			return nil
		}
		return unsafe.Pointer(&given[i])
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAStructComesBackAsItWas(t *testing.T) {
	given := sample.Rows()
	text := write(t, given...)
	if !json.Valid([]byte(text)) {
		t.Fatalf("%s is not JSON", text)
	}
	got, bad, err := readAll[sample.Everything](t, text)
	if err != nil || len(bad) > 0 || !reflect.DeepEqual(got, given) {
		t.Errorf("%+v became %+v (%v, %v)", given[0], got, bad, err)
	}
}

func TestAColumnThatIsNullIsToldUnlessItsFieldTakesNulls(t *testing.T) {
	type row struct {
		A int64  `json:"a"`
		B *int64 `json:"b"`
		C []int64
	}
	_, bad, err := readAll[row](t, `[{"a":1,"b":null},{"a":null},{"b":2},{"c":[1,null],"a":1},{"a":5,"x":{"y":[1,"\""]}}]`)
	if err != nil || !reflect.DeepEqual(bad, []rows.Bad{{1, "a"}, {2, "a"}, {3, "c"}}) {
		t.Errorf("%v, %v", bad, err)
	}
}

func TestARestKeepsWhatTheStructDoesNotName(t *testing.T) {
	type in struct {
		rows.Row
		N int64 `json:"n"`
	}
	type out struct {
		rows.Row
		N   int64  `json:"n"`
		New string `json:"new"`
	}
	text := `[{"a":[1, 2],"n":1,"big":"9223372036854775807"},{"a":null,"n":2,"big":3},{"n":3}]`
	got, bad, err := readAll[in](t, text)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	made := make([]out, len(got))
	for i, row := range got {
		made[i] = out{row.Row, row.N * 10, "x"}
	}
	made[1].Set("late", time.Unix(0, 0))
	wanted := `[{"a":[1,2],"n":10,"big":"9223372036854775807","new":"x"},
		{"a":null,"n":20,"big":3,"new":"x","late":"1970-01-01T00:00:00Z"},{"n":30,"new":"x"}]`
	if written := write(t, made...); !same(t, []byte(written), wanted) {
		t.Errorf("%s", written)
	}
	if columns := made[1].Columns(); !slices.Equal(columns, []string{"a", "n", "big", "late"}) {
		t.Errorf("%v", columns)
	}
}

func TestWhatIsNoBatchIsRefused(t *testing.T) {
	type row struct {
		N int64 `json:"n"`
	}
	deep := strings.Repeat("[", 5000)
	for _, text := range []string{
		"", "nonsense", "[1]", "{}", deep, `[{"n":1}`, `[{"n":1}]x`, `[{"n":1},]`, `[{"n" 1}]`, `[{"n":"x"}]`, `[{"n":1.5}]`,
		`[{"n":01}]`, `[{"n":"a` + "\n" + `"}]`, `[{"x":` + deep + `}]`, `[{"x":"\q"}]`, `[{"x":"\u12"}]`, `[{"x":nul}]`, `[{"n":9223372036854775808}]`,
	} {
		if _, _, err := readAll[row](t, text); err == nil {
			t.Errorf("%.40q was read", text)
		}
	}
}

func TestTextsAreReadAndWrittenAsInJSON(t *testing.T) {
	type row struct {
		S string `json:"s"`
	}
	for _, text := range []string{`"\u00fc\ud83d\ude00\n\/"`, `"\ud83d"`, `""`, `"plain"`, `"\ud83dx"`} {
		got, _, err := readAll[row](t, `[{"s":`+text+`}]`)
		var wanted string
		if json.Unmarshal([]byte(text), &wanted) != nil || err != nil || got[0].S != wanted {
			t.Errorf("%s: %q, not %q (%v)", text, got, wanted, err)
		}
	}
	if written := write(t, row{"a\xffb"}); written != "[{\"s\":\"a\ufffdb\"}]" {
		t.Errorf("%q", written)
	}
}

func FuzzRowsAreReadAsEncodingJSONReadsThem(f *testing.F) {
	f.Add(`[{"s":"a\u00fc","n":1,"f":1e3,"l":["x"],"b":true}]`)
	f.Add(`[{"n":-0,"f":1.5E-3},{"l":[],"s":"\""}]`)
	f.Add(`[ { } , {"x":{"y":[null,{}]}} ]`)
	f.Fuzz(func(t *testing.T, text string) {
		type row struct {
			S *string  `json:"s"`
			F *float64 `json:"f"`
			B *bool    `json:"b"`
			L []string `json:"l"`
		}
		got, bad, err := readAll[row](t, text)
		if err != nil || len(bad) > 0 {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q was read and is not JSON", text)
		}
		again, _, err := readAll[row](t, write(t, got...))
		if err != nil || write(t, again...) != write(t, got...) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
