// Geohashes of positions, and positions of geohashes.
package main

import "dataflare.dev/sdk-go"

func main() { dataflare.Serve() }
