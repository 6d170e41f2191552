// Command w1-go is the filter and the compute step of W1 as a plugin, over Arrow.
package main

import (
	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/arrow"
)

// Hot is the configuration of the filter.
type Hot struct {
	Above float64 `json:"above" default:"20" doc:"Rows up to this temperature are left out."`
}

type fahrenheit struct {
	Fahrenheit float64 `json:"fahrenheit"`
}

func init() {
	dataflare.Processor("hot", "Keeps rows above a temperature.", hot,
		dataflare.Plan(same), dataflare.Cardinality("filter"))
	dataflare.Processor("fahrenheit", "Adds the temperature in degrees Fahrenheit.", inFahrenheit,
		dataflare.Adds[fahrenheit](), dataflare.Cardinality("one"))
}

func main() { dataflare.Serve() }

func same(_ Hot, input dataflare.Schema) (dataflare.Schema, error) { return input, nil }

func temperatures(batch dataflare.Batch) (*arrow.Record, *arrow.Array, []float64, error) {
	record, err := arrow.Of(batch)
	if err != nil {
		return nil, nil, nil, err
	}
	column, err := record.Column("temperature")
	if err != nil {
		return nil, nil, nil, err
	}
	values, err := arrow.Numbers[float64](column)
	return record, column, values, err
}

func hot(_ dataflare.Context, config Hot, batch dataflare.Batch) (dataflare.Batch, error) {
	record, column, values, err := temperatures(batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	keep := make([]bool, len(values))
	for i, value := range values {
		keep[i] = value > config.Above && !column.IsNull(i)
	}
	kept, err := record.Filter(keep)
	if err != nil {
		return dataflare.Batch{}, err
	}
	return kept.Batch(), nil
}

func inFahrenheit(_ dataflare.Context, _ struct{}, batch dataflare.Batch) (dataflare.Batch, error) {
	record, _, values, err := temperatures(batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	made := make([]float64, len(values))
	for i, value := range values {
		made[i] = value*9/5 + 32
	}
	wider, err := record.With("fahrenheit", arrow.ArrayOfNumbers(made))
	if err != nil {
		return dataflare.Batch{}, err
	}
	return wider.Batch(), nil
}
