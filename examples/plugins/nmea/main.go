// Positions of a GPS receiver, as rows.
package main

import "dataflare.dev/sdk-go"

func main() { dataflare.Serve() }
