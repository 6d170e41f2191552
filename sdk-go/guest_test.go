package dataflare_test

import (
	"encoding/json"
	"strings"
	"testing"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/internal/frame"
)

// answered is the header of the answer to a request.
func answered(t testing.TB, guest *dataflare.Guest, request string, parts ...string) map[string]any {
	t.Helper()
	content := make([][]byte, len(parts))
	for i, part := range parts {
		content[i] = []byte(part)
	}
	packed, err := frame.Append(nil, json.RawMessage(request), content)
	if err != nil {
		t.Fatal(err)
	}
	header, _, err := frame.Unpack(guest.Answer(packed))
	if err != nil {
		t.Fatal(err)
	}
	var told map[string]any
	if err := json.Unmarshal(header, &told); err != nil {
		t.Fatal(err)
	}
	return told
}

func code(told map[string]any) any {
	failed, _ := told["error"].(map[string]any)
	return failed["code"]
}

func FuzzAGuestAnswersWhateverComes(f *testing.F) {
	for _, header := range []string{
		`{"op":"describe"}`, `{"op":"open","instance":1,"component":"processor:times","schemas":{"":{"arrow":"AAAA"}}}`,
		`{"op":"read","instance":1,"split":"x"}`, `{"op":[]}`, `{"op":"process","instance":0,"part":-1}`,
	} {
		packed, _ := frame.Append(nil, json.RawMessage(header), nil)
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, given []byte) {
		guest := dataflare.NewGuest(nil)
		if _, _, err := frame.Unpack(guest.Answer(given)); err != nil {
			t.Errorf("%q is answered with no frame: %v", given, err)
		}
	})
}

func TestAPanicIsAnErrorAndTheGuestGoesOn(t *testing.T) {
	guest := dataflare.NewGuest(nil)
	told := answered(t, guest, `{"op":"call","component":"tool:burst"}`)
	failed, _ := told["error"].(map[string]any)
	if failed["code"] != "step.failed" || !strings.Contains(failed["message"].(string), "nil map") {
		t.Errorf("%v", told)
	}
	if cause, _ := failed["cause"].(string); !strings.Contains(cause, "guest_test.go") {
		t.Errorf("its cause does not show where it was: %s", cause)
	}
	if told := answered(t, guest, `{"op":"call","component":"tool:add","input":{"a":1}}`); told["error"] != nil {
		t.Errorf("%v", told)
	}
}

func init() {
	type none struct{}
	dataflare.Tool("burst", "Panics.", func(dataflare.Context, none, none) (int, error) {
		var m map[string]int
		m["x"] = 1
		return 0, nil
	})
}

func TestWhatTheHostRefusesReachesTheComponent(t *testing.T) {
	guest := dataflare.NewGuest(func([]byte) ([]byte, error) {
		refused := `{"error":{"code":"permission.denied","message":"no","kind":"fatal","fix":"grant it","pointer":null}}`
		return frame.Append(nil, json.RawMessage(refused), nil)
	})
	schema := `{"columns":[],"open":true,"arrow":""}`
	if told := answered(t, guest, `{"op":"open","instance":1,"component":"processor:totals","config":{"key":"k"},"encoding":"json","schemas":{"":`+schema+`}}`); told["error"] != nil {
		t.Fatal(told)
	}
	told := answered(t, guest, `{"op":"process","instance":1,"part":0}`, `[{"k":"a","n":1}]`)
	if failed, _ := told["error"].(map[string]any); failed["code"] != "permission.denied" || failed["fix"] != "grant it" {
		t.Errorf("%v", told)
	}
}

func TestDescribeTellsKindsConfigurationAndWhatTheAuthorWrote(t *testing.T) {
	told := answered(t, dataflare.NewGuest(nil), `{"op":"describe"}`)
	found := map[string]map[string]any{}
	for _, each := range told["components"].([]any) {
		one := each.(map[string]any)
		found[one["kind"].(string)+":"+one["name"].(string)] = one
	}
	at := func(component string, words ...string) any {
		var value any = found[component]
		for _, word := range words {
			value = value.(map[string]any)[word]
		}
		return value
	}
	for _, each := range []struct {
		got, wanted any
	}{
		{told["protocol"], 1.0},
		{at("source:numbers", "config", "properties", "count", "default"), 5.0},
		{at("source:numbers", "operations"), []any{"acknowledge", "plan", "read", "splits"}},
		{at("processor:totals", "states"), []any{"total"}},
		{at("processor:totals", "abilities", "by"), "key"},
		{at("processor:times", "abilities", "cardinality"), "one"},
		{at("processor:parity", "abilities", "outputs"), []any{"odd"}},
		{at("processor:counter", "operations"), []any{"plan", "process", "restore", "snapshot"}},
		{at("sink:shelf", "abilities", "ability"), "staged"},
		{at("tool:add", "input", "required"), []any{"a"}},
		{at("tool:add", "summary"), "Adds, and tells how far it is."},
	} {
		if a, b := text(each.got), text(each.wanted); a != b {
			t.Errorf("%s, not %s", a, b)
		}
	}
}

func text(value any) string {
	content, _ := json.Marshal(value)
	return string(content)
}
