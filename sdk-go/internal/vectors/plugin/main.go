// Command plugin serves the components that tests/vectors/guest.json calls.
package main

import (
	"dataflare.dev/sdk-go"
	_ "dataflare.dev/sdk-go/arrow"
	_ "dataflare.dev/sdk-go/internal/vectors"
)

func main() { dataflare.Serve() }
