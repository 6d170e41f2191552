// Command w1-extism is the filter and the compute step of W1 as an Extism module, row by row over JSON.
package main

import "dataflare.dev/sdk-go"

// Hot is the configuration of the filter.
type Hot struct {
	Above float64 `json:"above" default:"20" doc:"Rows up to this temperature are left out."`
}

func init() {
	dataflare.Map("hot", "Keeps rows above a temperature.", hot,
		dataflare.Plan(same[Hot]), dataflare.Cardinality("filter"))
	dataflare.Map("fahrenheit", "Adds the temperature in degrees Fahrenheit.", inFahrenheit,
		dataflare.Plan(wider), dataflare.Cardinality("one"))
}

func main() { dataflare.Serve() }

func same[C any](_ C, input dataflare.Schema) (dataflare.Schema, error) { return input, nil }

func wider(_ struct{}, input dataflare.Schema) (dataflare.Schema, error) {
	return input.With(dataflare.ColumnOf[float64]("fahrenheit")), nil
}

func hot(_ dataflare.Context, config Hot, row dataflare.Row) (dataflare.Row, error) {
	if temperature, ok := row.Float("temperature"); !ok || temperature <= config.Above {
		return row, dataflare.ErrSkip
	}
	return row, nil
}

func inFahrenheit(_ dataflare.Context, _ struct{}, row dataflare.Row) (dataflare.Row, error) {
	temperature, _ := row.Float("temperature")
	row.Set("fahrenheit", temperature*9/5+32)
	return row, nil
}
