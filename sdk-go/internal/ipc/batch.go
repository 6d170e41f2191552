package ipc

import (
	"encoding/binary"
	"fmt"

	"dataflare.dev/sdk-go/internal/types"
)

// Node is the length of an array and how many of it are null.
type Node struct{ Length, Nulls int }

// Data is what the messages of a record batch, or of a dictionary, say: the arrays' nodes and buffers, depth first.
type Data struct {
	ID       int64 // of a dictionary
	Delta    bool  // a dictionary that adds to the one before
	Length   int
	Nodes    []Node
	Buffers  [][]byte
	Variadic []int // of arrays of views: how many buffers of data each has
}

// Stream is what a part holds.
type Stream struct {
	Schema       types.Schema
	IDs          []int64 // of the dictionaries, in the order of their columns
	Dictionaries []Data
	Batches      []Data
}

// ReadStream cuts a stream apart. Buffers share its memory.
func ReadStream(given []byte) (stream Stream, err error) {
	defer caught(&err)
	told, header, _, rest := message(given)
	if header != headerSchema {
		return stream, fmt.Errorf("%w: it does not begin with a schema", errMessage)
	}
	stream.Schema, stream.IDs = schemaOf(told)
	for {
		told, header, body, after := message(rest)
		if header == 0 {
			return stream, nil
		}
		rest = after
		inner, _ := told.table(2)
		switch header {
		case headerDictionary:
			data, ok := inner.table(1)
			if !ok {
				panic(errMessage)
			}
			one := dataOf(data, body)
			one.ID, one.Delta = inner.long(0), inner.bool(2)
			stream.Dictionaries = append(stream.Dictionaries, one)
		case headerBatch:
			stream.Batches = append(stream.Batches, dataOf(inner, body))
		default:
			return stream, fmt.Errorf("%w: a message of the kind %d", errMessage, header)
		}
	}
}

func dataOf(told table, body []byte) Data {
	if told.buf == nil {
		panic(errMessage)
	}
	if _, compressed := told.table(3); compressed {
		panic(fmt.Errorf("%w: it is compressed", errMessage))
	}
	data := Data{Length: long(told, 0)}
	at, count := told.vector(1, 16)
	for i := range count {
		data.Nodes = append(data.Nodes, Node{number(told.buf, at+16*i), number(told.buf, at+16*i+8)})
	}
	at, count = told.vector(2, 16)
	for i := range count {
		offset, length := number(told.buf, at+16*i), number(told.buf, at+16*i+8)
		data.Buffers = append(data.Buffers, need(body, offset, length))
	}
	at, count = told.vector(4, 8)
	for i := range count {
		data.Variadic = append(data.Variadic, number(told.buf, at+8*i))
	}
	return data
}

func long(told table, field int) int {
	n := told.long(field)
	if n < 0 || n > 1<<31-1 {
		panic(errMessage)
	}
	return int(n)
}

func number(buf []byte, at int) int {
	n := int64(binary.LittleEndian.Uint64(need(buf, at, 8)))
	if n < 0 || n > 1<<31-1 {
		panic(errMessage)
	}
	return int(n)
}

// AppendData adds the message of a record batch, and its body.
func AppendData(dst []byte, data Data) []byte { return appendData(dst, data, false) }

// AppendDictionary adds the message of a dictionary, and its body.
func AppendDictionary(dst []byte, data Data) []byte { return appendData(dst, data, true) }

// End ends a stream.
func End(dst []byte) []byte { return append(dst, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0) }

func appendData(dst []byte, data Data, dictionary bool) []byte {
	size := 0
	places := make([]int64, 0, 2*len(data.Buffers))
	for _, buffer := range data.Buffers {
		places = append(places, int64(size), int64(len(buffer)))
		size += (len(buffer) + 7) &^ 7
	}
	nodes := make([]int64, 0, 2*len(data.Nodes))
	for _, node := range data.Nodes {
		nodes = append(nodes, int64(node.Length), int64(node.Nulls))
	}
	header := byte(headerBatch)
	if dictionary {
		header = headerDictionary
	}
	dst = appendMessage(dst, header, size, func(b *builder) int {
		batch := func() int {
			fields := []field{
				{slot: 0, size: 8, value: uint64(data.Length)},
				{slot: 1, child: func() int { return b.longs(len(data.Nodes), nodes) }},
				{slot: 2, child: func() int { return b.longs(len(data.Buffers), places) }},
			}
			if len(data.Variadic) > 0 {
				counts := make([]int64, len(data.Variadic))
				for i, count := range data.Variadic {
					counts[i] = int64(count)
				}
				fields = append(fields, field{slot: 4, child: func() int { return b.longs(len(counts), counts) }})
			}
			return b.table(fields...)
		}
		if !dictionary {
			return batch()
		}
		return b.table(
			field{slot: 0, size: 8, value: uint64(data.ID)},
			field{slot: 1, child: batch},
			field{slot: 2, size: 1, value: flag(data.Delta)},
		)
	})
	for _, buffer := range data.Buffers {
		dst = append(dst, buffer...)
		dst = append(dst, make([]byte, -len(buffer)&7)...)
	}
	return dst
}
