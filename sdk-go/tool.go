package dataflare

import (
	"encoding/json"
	"reflect"
)

// Tool registers a tool: the command line, the REST API and MCP get it by themselves. In is a struct, read and checked
// as a configuration is; Out is whatever JSON can hold. Report tells of progress.
func Tool[C, In, Out any](name, doc string, f func(Context, C, In) (Out, error), options ...Option) {
	made := &component{operations: []string{"call"}, abilities: map[string]any{"effects": "none"}}
	made.input = settingsOf(reflect.TypeFor[In]())
	made.call = func(ctx *surroundings, config any, given json.RawMessage, report func(any)) (any, error) {
		input, err := made.input.read(given)
		if err != nil {
			return nil, err
		}
		ctx.report = report
		return f(ctx, config.(C), input.(In))
	}
	register[C]("tool", name, doc, made, options)
}

// Report gives something on the way to a tool's answer.
func Report(ctx Context, value any) {
	if report := ctx.surroundings().report; report != nil {
		report(value)
	}
}
