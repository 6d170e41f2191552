// Command w1-extism is the filter and the compute step of W1 as a plugin, over JSON: an Extism module with the tag
// extism, a module of the host's own interface without.
package main

import "dataflare.dev/sdk-go"

// Hot is the configuration of the filter.
type Hot struct {
	Above float64 `json:"above" default:"20" doc:"Rows up to this temperature are left out."`
}

type reading struct {
	dataflare.Row
	Temperature float64 `json:"temperature"`
}

type converted struct {
	reading
	Fahrenheit float64 `json:"fahrenheit"`
}

func init() {
	dataflare.Map("hot", "Keeps rows above a temperature.", hot)
	dataflare.Map("fahrenheit", "Adds the temperature in degrees Fahrenheit.", inFahrenheit)
}

func main() { dataflare.Serve() }

func hot(_ dataflare.Context, config Hot, row reading) (reading, error) {
	if row.Temperature <= config.Above {
		return row, dataflare.ErrSkip
	}
	return row, nil
}

func inFahrenheit(_ dataflare.Context, _ struct{}, row reading) (converted, error) {
	return converted{row, row.Temperature*9/5 + 32}, nil
}
