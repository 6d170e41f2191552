package dataflare

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Host string `json:"host"`
	Port uint16 `json:"port" default:"443"`
}

type format string

func (format) Choices() []string { return []string{"json", "csv"} }

type options struct {
	Name   string            `json:"name" doc:"A name." min:"2" max:"5"`
	Count  int8              `json:"count" default:"5" min:"1" max:"9"`
	Rate   float64           `json:"rate" default:"0.5"`
	Wait   time.Duration     `json:"wait" default:"1m30s" max:"1h"`
	Size   Bytes             `json:"size" default:"16MiB"`
	Token  Secret            `json:"token,omitempty" doc:"It is not shown."`
	Keys   Columns           `json:"keys" default:"id"`
	Format format            `json:"format" default:"json" advanced:"true"`
	Mode   string            `json:"mode" default:"a" choices:"a,b"`
	Tags   []string          `json:"tags" default:"[]" max:"2"`
	Rates  map[string]int    `json:"rates,omitempty"`
	Target inner             `json:"target"`
	Spare  *inner            `json:"spare"`
	Limit  *int              `json:"limit"`
	Hidden string            `json:"-"`
	Free   json.RawMessage   `json:"free,omitempty"`
	On     bool              `json:"on" default:"true"`
	Words  map[string]string `json:"words,omitempty"`
}

func TestAConfigurationIsReadWithItsDefaults(t *testing.T) {
	made, err := settingsOf(reflect.TypeFor[options]()).read(json.RawMessage(`{"name":"abc","target":{"host":"h"},
		"token":"t","limit":"7","rates":{"a":1},"keys":["a","b"],"count":"6","words":null,"mode":null,"wait":2.5,"free":{"x":[1]}}`))
	limit := 7
	wanted := options{
		Name: "abc", Count: 6, Rate: 0.5, Wait: 2500 * time.Millisecond, Size: 16 << 20, Token: Secret{"t"},
		Keys: Columns{"a", "b"}, Format: "json", Mode: "a", Tags: []string{}, Rates: map[string]int{"a": 1},
		Target: inner{"h", 443}, Limit: &limit, Free: json.RawMessage(`{"x":[1]}`), On: true,
	}
	if err != nil || !reflect.DeepEqual(made, wanted) {
		t.Errorf("%+v, not %+v (%v)", made, wanted, err)
	}
	if shown := fmt.Sprintf("%v %+v", made, made.(options).Token); strings.Contains(shown, "{t}") || made.(options).Token.Reveal() != "t" {
		t.Errorf("%s shows the secret", shown)
	}
}

func TestEveryWrongFieldIsAProblemOfItsOwn(t *testing.T) {
	_, err := settingsOf(reflect.TypeFor[options]()).read(json.RawMessage(`{"name":"x","count":10,"rate":"fast","wait":"2h",
		"size":"1 parsec","token":1,"keys":1,"format":"xml","mode":"c","tags":["a","b","c"],"rates":{"a":"b"},
		"target":{"port":-1},"spare":{"host":1,"prot":2},"on":1,"colour":"red"}`))
	var got []string
	for _, each := range problemsOf(err) {
		got = append(got, each.Pointer+" "+strings.TrimPrefix(each.Code, "config."))
	}
	slices.Sort(got)
	wanted := []string{
		"/colour unknown_field", "/count bound", "/format choice", "/keys type", "/mode choice", "/name bound", "/on type",
		"/rate type", "/rates/a type", "/size type", "/spare/host type", "/spare/prot unknown_field", "/tags bound",
		"/target/host missing", "/target/port type", "/token type", "/wait bound",
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("%q", got)
	}
}

func TestASchemaTellsWhatAConfigurationMayBe(t *testing.T) {
	var told map[string]any
	if err := json.Unmarshal(settingsOf(reflect.TypeFor[options]()).schema("x", "y"), &told); err != nil {
		t.Fatal(err)
	}
	at := func(words ...string) string {
		var value any = told
		for _, word := range words {
			value = value.(map[string]any)[word]
		}
		text, _ := json.Marshal(value)
		return string(text)
	}
	for got, wanted := range map[string]string{
		at("required"):                                    `["name","target"]`,
		at("additionalProperties"):                        `false`,
		at("properties", "name"):                          `{"description":"A name.","maxLength":5,"minLength":2,"type":"string"}`,
		at("properties", "count"):                         `{"default":5,"maximum":9,"minimum":1,"type":"integer"}`,
		at("properties", "token", "x-secret"):             `true`,
		at("properties", "format", "enum"):                `["json","csv"]`,
		at("properties", "format", "x-advanced"):          `true`,
		at("properties", "wait", "default"):               `"1m30s"`,
		at("properties", "target", "required"):            `["host"]`,
		at("properties", "tags", "maxItems"):              `2`,
		at("properties", "spare", "default"):              `null`,
		at("properties", "rates", "additionalProperties"): `{"type":"integer"}`,
		at("properties", "limit", "anyOf"):                `[{"type":"integer"},{"type":"null"}]`,
	} {
		if got != wanted {
			t.Errorf("%s, not %s", got, wanted)
		}
	}
}

func TestDurationsAndSizesAreWrittenAsPeopleWriteThem(t *testing.T) {
	for text, wanted := range map[string]time.Duration{
		"500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "2": 2 * time.Second, "1.5s": 1500 * time.Millisecond,
		"1 d": 24 * time.Hour, "10us": 10 * time.Microsecond,
	} {
		if got, err := parseSpan(nil, text); got != wanted || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1s", "1y", "1h2", "NaN", "1s!", "."} {
		if got, err := parseSpan(nil, text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	for text, wanted := range map[string]int64{"16MiB": 16 << 20, "1MB": 1e6, "512": 512, "1.5k": 1500, "2 GiB": 2 << 30, "7b": 7} {
		if got, err := parseSize(nil, text); got != wanted || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "1 parsec", "-1", "1MB2", "99999999TiB"} {
		if got, err := parseSize(nil, text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestWhatIsDeclaredWronglyIsSaidAtOnce(t *testing.T) {
	type wrong struct {
		N int `json:"n" default:"many"`
	}
	type strange struct {
		C chan int
	}
	type self struct{ Inner *self }
	for name, f := range map[string]func(){
		"a default that does not fit": func() { settingsOf(reflect.TypeFor[wrong]()) },
		"a setting of a strange type": func() { settingsOf(reflect.TypeFor[strange]()) },
		"a column of a strange type":  func() { SchemaOf[strange]() },
		"a column that holds itself":  func() { SchemaOf[self]() },
		"rows that are no struct":     func() { SchemaOf[int]() },
		"keys that no setting names": func() {
			Processor("p", "d", func(Context, inner, Batch) (Batch, error) { return Batch{}, nil }, By("key"))
		},
		"a check of another configuration": func() {
			Processor("p", "d", func(Context, inner, Batch) (Batch, error) { return Batch{}, nil }, Check(func(Context, wrong) error { return nil }))
		},
		"nothing of what it does": func() { Append("p", "", func(Context, inner, Batch) error { return nil }) },
	} {
		func() {
			defer func() {
				if said, ok := recover().(string); !ok || !strings.HasPrefix(said, "dataflare: ") {
					t.Errorf("%s: %v", name, said)
				}
			}()
			f()
		}()
	}
}
