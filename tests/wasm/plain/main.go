// Command plain is an ordinary Extism module: exports that take bytes and give bytes, and some that misbehave.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

var calls int

// hot keeps the rows above 20 and adds their temperature in Fahrenheit.
//
//go:wasmexport hot
func hot() int32 {
	var rows []map[string]any
	if err := json.Unmarshal(take(), &rows); err != nil {
		return fail(err.Error())
	}
	kept := []map[string]any{}
	for _, row := range rows {
		if t, ok := row["temperature"].(float64); ok && t > 20 {
			row["fahrenheit"] = t*9/5 + 32
			kept = append(kept, row)
		}
	}
	return giveJSON(kept)
}

// greet is a tool: an object in, an object out.
//
//go:wasmexport greet
func greet() int32 {
	var in struct{ Name string }
	if err := json.Unmarshal(take(), &in); err != nil {
		return fail(err.Error())
	}
	calls++
	return giveJSON(map[string]any{"greeting": "hello " + in.Name, "calls": calls})
}

// do does what the row, or the object, says in `what`.
//
//go:wasmexport do
func do() int32 {
	var in []struct{ What string }
	if err := json.Unmarshal(take(), &in); err != nil {
		return fail(err.Error())
	}
	calls++
	switch what := in[0].What; what {
	case "loop":
		for {
		}
	case "memory":
		var all [][]byte
		for {
			all = append(all, make([]byte, 16<<20))
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "panic":
		panic("on purpose")
	case "exit":
		os.Exit(3)
	case "fail":
		return fail("refused on purpose")
	case "junk":
		give([]byte("junk"))
		return 0
	case "file":
		_, err := os.ReadFile("/etc/passwd")
		return fail(fmt.Sprint(err))
	}
	return giveJSON([]map[string]any{{"calls": calls}})
}

func giveJSON(value any) int32 {
	told, err := json.Marshal(value)
	if err != nil {
		return fail(err.Error())
	}
	give(told)
	return 0
}

func fail(why string) int32 {
	errorSet(put([]byte(why)))
	return 1
}

func take() []byte {
	given := make([]byte, inputLength())
	for at := range given {
		given[at] = byte(inputLoad8(uint64(at)))
	}
	return given
}

func give(told []byte) { outputSet(put(told), uint64(len(told))) }

func put(told []byte) uint64 {
	block := alloc(uint64(len(told)))
	for at, each := range told {
		store8(block+uint64(at), uint32(each))
	}
	return block
}

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env input_load_u8
func inputLoad8(at uint64) uint32

//go:wasmimport extism:host/env alloc
func alloc(size uint64) uint64

//go:wasmimport extism:host/env store_u8
func store8(at uint64, value uint32)

//go:wasmimport extism:host/env output_set
func outputSet(at, length uint64)

//go:wasmimport extism:host/env error_set
func errorSet(at uint64)

func main() {}
