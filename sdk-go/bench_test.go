package dataflare_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/internal/frame"
	"dataflare.dev/sdk-go/internal/ipc"
)

type measured struct {
	ID          int64     `json:"id"`
	Sensor      string    `json:"sensor"`
	Site        string    `json:"site"`
	Temperature float64   `json:"temperature"`
	Humidity    float64   `json:"humidity"`
	At          time.Time `json:"at"`
	Note        string    `json:"note"`
}

type warm struct {
	measured
	Fahrenheit float64 `json:"fahrenheit"`
}

type some struct {
	dataflare.Row
	Temperature float64 `json:"temperature"`
}

type more struct {
	dataflare.Row
	Fahrenheit float64 `json:"fahrenheit"`
}

func init() {
	type none struct{}
	dataflare.Map("whole", "All columns in a struct.", func(_ dataflare.Context, _ none, row measured) (warm, error) {
		if row.Temperature <= 20 {
			return warm{}, dataflare.ErrSkip
		}
		return warm{row, row.Temperature*9/5 + 32}, nil
	})
	dataflare.Map("rest", "One column in a struct.", func(_ dataflare.Context, _ none, row some) (more, error) {
		if row.Temperature <= 20 {
			return more{}, dataflare.ErrSkip
		}
		return more{row.Row, row.Temperature*9/5 + 32}, nil
	})
	dataflare.Map("free", "No struct.", func(_ dataflare.Context, _ none, row dataflare.Row) (dataflare.Row, error) {
		degrees, _ := row.Float("temperature")
		if degrees <= 20 {
			return row, dataflare.ErrSkip
		}
		row.Set("fahrenheit", degrees*9/5+32)
		return row, nil
	}, dataflare.Adds[more]())
}

func BenchmarkRows(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, `{"id":%d,"sensor":"sensor-%03d","site":"Zürich, Hardstrasse 7","temperature":%.2f,"humidity":%.1f,"at":"2026-01-31T12:30:00.%03dZ","note":"moved to the second floor"}`,
			i, i%100, float64(i*37%4000)/100, float64(i%70)+20.5, i)
	}
	part := []byte("[" + text.String() + "]")
	for _, name := range []string{"whole", "rest", "free"} {
		b.Run(name, func(b *testing.B) {
			guest := dataflare.NewGuest(nil)
			schema := map[string]any{"arrow": ipc.AppendSchema(nil, dataflare.SchemaOf[measured]())}
			opening, _ := frame.Append(nil, map[string]any{"op": "open", "instance": 1, "component": "processor:" + name, "encoding": "json", "schemas": map[string]any{"": schema}}, nil)
			if answer := guest.Answer(opening); strings.Contains(string(answer), "error") {
				b.Fatal(string(answer))
			}
			request, _ := frame.Append(nil, json.RawMessage(`{"op":"process","instance":1,"part":0}`), [][]byte{part})
			if answer := guest.Answer(request); strings.Contains(string(answer[:100]), "error") {
				b.Fatal(string(answer[:300]))
			}
			b.SetBytes(int64(len(part)))
			for b.Loop() {
				guest.Answer(request)
			}
		})
	}
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(part)))
		for b.Loop() {
			var rows []measured
			if err := json.Unmarshal(part, &rows); err != nil {
				b.Fatal(err)
			}
			var made []warm
			for _, row := range rows {
				if row.Temperature > 20 {
					made = append(made, warm{row, row.Temperature*9/5 + 32})
				}
			}
			if _, err := json.Marshal(made); err != nil {
				b.Fatal(err)
			}
		}
	})
}
