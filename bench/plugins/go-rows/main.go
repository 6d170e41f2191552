// Command go-rows does one thing in the ways that the SDK for Go offers: it keeps rows above 20 degrees, and adds the
// temperature in degrees Fahrenheit.
package main

import (
	"time"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/arrow"
)

type none struct{}

// Reading is a row as a struct has it.
type Reading struct {
	ID          int64     `json:"id"`
	Sensor      string    `json:"sensor"`
	Site        string    `json:"site"`
	Temperature float64   `json:"temperature"`
	Humidity    float64   `json:"humidity"`
	At          time.Time `json:"at"`
	Note        string    `json:"note"`
}

// Warm is the row that it becomes.
type Warm struct {
	Reading
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

func main() { dataflare.Serve() }

func init() {
	dataflare.Map("whole", "All columns in a struct.", func(_ dataflare.Context, _ none, row Reading) (Warm, error) {
		if row.Temperature <= 20 {
			return Warm{}, dataflare.ErrSkip
		}
		return Warm{row, row.Temperature*9/5 + 32}, nil
	})
	dataflare.Map("rest", "One column in a struct, the others kept.", func(_ dataflare.Context, _ none, row some) (more, error) {
		if row.Temperature <= 20 {
			return more{}, dataflare.ErrSkip
		}
		return more{row.Row, row.Temperature*9/5 + 32}, nil
	})
	dataflare.Map("free", "No struct at all.", func(_ dataflare.Context, _ none, row dataflare.Row) (dataflare.Row, error) {
		degrees, _ := row.Float("temperature")
		if degrees <= 20 {
			return row, dataflare.ErrSkip
		}
		row.Set("fahrenheit", degrees*9/5+32)
		return row, nil
	}, dataflare.Adds[more]())
	dataflare.Processor("columns", "By column.", columns, dataflare.Adds[more]())
}

func columns(_ dataflare.Context, _ none, batch dataflare.Batch) (dataflare.Batch, error) {
	record, err := arrow.Of(batch)
	if err != nil {
		return batch, err
	}
	column, err := record.Column("temperature")
	if err != nil {
		return batch, err
	}
	celsius, err := arrow.Numbers[float64](column)
	if err != nil {
		return batch, err
	}
	keep, made := make([]bool, len(celsius)), make([]float64, 0, len(celsius))
	for i, value := range celsius {
		if keep[i] = value > 20 && !column.IsNull(i); keep[i] {
			made = append(made, value*9/5+32)
		}
	}
	if record, err = record.Filter(keep); err != nil {
		return batch, err
	}
	if record, err = record.With("fahrenheit", arrow.ArrayOfNumbers(made)); err != nil {
		return batch, err
	}
	return record.Batch(), nil
}
