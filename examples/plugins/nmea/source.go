package main

import (
	"bytes"
	"errors"
	"io"
	"time"

	"dataflare.dev/sdk-go"
)

func init() {
	dataflare.Source("positions", "Positions, one a GGA or RMC sentence; a sentence that is damaged becomes a dead letter.",
		open, dataflare.Gives[Position](), dataflare.Replay("none"))
}

type config struct {
	Input string `json:"input" default:"gps" doc:"The host-owned input that the receiver sends to."`
	Rows  int    `json:"rows" default:"500" min:"1" max:"10000" doc:"The most rows in a batch." advanced:"true"`
}

const (
	patience  = 50 * time.Millisecond
	chunk     = 16 << 10
	longest   = 1024 // bytes of a line, which has 82 by the standard
	wait      = 200 * time.Millisecond
	noNewline = "a line without an end"
)

// receiver reads an input, line by line.
type receiver struct {
	input   dataflare.Input
	rows    int
	rest    []byte
	decoder decoder
}

func open(ctx dataflare.Context, config config) (*receiver, error) {
	return &receiver{input: ctx.Input(config.Input), rows: config.Rows}, nil
}

// Next gives what came since the last time. What a receiver said cannot be asked for again: there are no positions.
func (r *receiver) Next(ctx dataflare.Context, _ dataflare.Split, _ *int) (dataflare.Batch, int, error) {
	var rows []Position
	for len(rows) < r.rows && ctx.Err() == nil {
		line, ok := r.line(ctx)
		if ok {
			r.decode(ctx, line, &rows)
			continue
		}
		given, err := r.input.Receive(chunk, patience)
		if errors.Is(err, io.EOF) {
			r.decode(ctx, r.rest, &rows)
			r.rest = nil
			return dataflare.Rows(rows...), 0, io.EOF
		}
		if err != nil {
			return dataflare.Batch{}, 0, err
		}
		if len(given) == 0 {
			break
		}
		r.rest = append(r.rest, given...)
	}
	if len(rows) == 0 {
		return dataflare.Batch{}, 0, dataflare.Idle(wait)
	}
	return dataflare.Rows(rows...), 0, nil
}

func (r *receiver) decode(ctx dataflare.Context, line []byte, rows *[]Position) {
	position, err := r.decoder.decode(string(bytes.TrimSpace(line)), ctx.Now())
	switch {
	case err != nil:
		ctx.Refuse(dataflare.Refused{Code: "nmea.sentence", Message: err.Error(), Raw: line})
	case position != nil:
		*rows = append(*rows, *position)
	}
}

// line takes a whole line from what was received.
func (r *receiver) line(ctx dataflare.Context) ([]byte, bool) {
	line, rest, found := bytes.Cut(r.rest, []byte{'\n'})
	if found {
		r.rest = rest
		return line, true
	}
	if len(r.rest) > longest {
		ctx.Refuse(dataflare.Refused{Code: "nmea.line", Message: noNewline, Raw: r.rest})
		r.rest = nil
	}
	return nil, false
}
