package dataflare

import (
	"encoding/json"
	"io"
	"iter"
	"slices"
	"strings"
)

// What needs no open instance.

func sameName(known *component, told string) bool {
	kind, name, _ := strings.Cut(told, ":")
	return known.kind == kind && strings.ReplaceAll(known.name, "_", "-") == strings.ReplaceAll(name, "_", "-")
}

func (g *Guest) names() string {
	found := make([]string, len(g.components))
	for i, known := range g.components {
		found[i] = "`" + known.kind + ":" + known.name + "`"
	}
	return strings.Join(found, ", ")
}

func (g *Guest) describe() answer {
	told := make([]componentWords, len(g.components))
	for i, known := range g.components {
		told[i] = known.describe()
	}
	return answer{header: words{
		"protocol": Protocol, "api": minors, "sdk": sdkName, "encodings": encodings(), "components": told,
	}}
}

func (g *Guest) check(given *request) (answer, error) {
	known, config, err := g.find(given)
	if err != nil {
		return answer{}, err
	}
	problems := []*Problem{}
	if known.check != nil {
		if err := known.check(g.surroundings(given, -1), config); err != nil {
			problems = problemsOf(err)
		}
	}
	return answer{header: words{"problems": problems}}, nil
}

type streamWords struct {
	Name   string       `json:"name"`
	Schema *schemaWords `json:"schema"`
	Key    []string     `json:"key"`
	Cursor *string      `json:"cursor"`
}

func (g *Guest) discover(given *request) (answer, error) {
	known, config, err := g.find(given)
	if err != nil {
		return answer{}, err
	}
	told := []streamWords{}
	if known.discover != nil {
		streams, err := known.discover(g.surroundings(given, -1), config)
		if err != nil {
			return answer{}, err
		}
		for _, each := range streams {
			one := streamWords{Name: each.Name, Key: orEmpty(each.Key)}
			if each.Schema != nil {
				schema := tell(*each.Schema)
				one.Schema = &schema
			}
			if each.Cursor != "" {
				one.Cursor = &each.Cursor
			}
			told = append(told, one)
		}
	}
	return answer{header: words{"streams": told}}, nil
}

func (g *Guest) plan(given *request) (answer, error) {
	inputs, err := schemasOf(given.Schemas)
	if err != nil {
		return answer{}, err
	}
	var known *component
	var config any
	if given.Instance != nil {
		open, err := g.instance(given)
		if err != nil {
			return answer{}, err
		}
		return open.replan(inputs)
	}
	if known, config, err = g.find(given); err != nil {
		return answer{}, err
	}
	told, err := known.plan(config, inputs)
	if err != nil {
		return answer{}, err
	}
	return planned(told), nil
}

func planned(schemas map[string]Schema) answer {
	if schemas == nil {
		return answer{header: words{"schemas": nil}}
	}
	return answer{header: words{"schemas": tellAll(schemas)}}
}

// replan is plan on an open instance: its input has grown.
func (i *instance) replan(inputs map[string]Schema) (answer, error) {
	told, err := i.component.plan(i.config, inputs)
	if err != nil {
		return answer{}, err
	}
	i.inputs, i.outputs = inputs, told
	i.context().inputs = inputs[""]
	return planned(told), nil
}

func (g *Guest) open(given *request) (answer, error) {
	if given.Instance == nil {
		return answer{}, problem("config", "guest.instance", "it names no new instance")
	}
	if _, taken := g.instances[*given.Instance]; taken {
		return answer{}, problem("config", "guest.instance", "`%d` is not the number of a new instance", *given.Instance)
	}
	known, config, err := g.find(given)
	if err != nil {
		return answer{}, err
	}
	if known.open == nil {
		return answer{}, problem("config", "guest.operation", "`%s` is a %s: it is not opened", known.name, known.kind)
	}
	if given.Encoding == "" {
		given.Encoding = encodings()[0]
	}
	if !slices.Contains(encodings(), given.Encoding) {
		return answer{}, &Problem{
			Code: "guest.encoding", Message: "`" + given.Encoding + "` is not an encoding here", Kind: "config",
			Fix: strings.Join(encodings(), " or "),
		}
	}
	inputs, err := schemasOf(given.Schemas)
	if err != nil {
		return answer{}, err
	}
	var outputs map[string]Schema
	if len(inputs) > 0 || known.kind == "source" {
		if outputs, err = known.plan(config, inputs); err != nil {
			return answer{}, err
		}
	}
	ctx := g.surroundings(given, *given.Instance)
	ctx.inputs, ctx.encoding = inputs[""], given.Encoding
	ctx.resume = Resume(given.Resume)
	if known.by != "" {
		ctx.keyBy = known.config.columns(config, known.by)
	}
	made, err := known.open(ctx, config)
	if err != nil {
		return answer{}, err
	}
	g.instances[*given.Instance] = &instance{known, made, config, given.Encoding, inputs, outputs}
	return nothing, nil
}

// call calls a tool. What it reports goes to the host when it is there: each report is an answer of its own.
func (g *Guest) call(given *request) (answer, error) {
	known, config, err := g.find(given)
	if err != nil {
		return answer{}, err
	}
	if known.call == nil {
		return answer{}, problem("config", "guest.not_a_tool", "`%s` is not a tool", known.name)
	}
	if len(given.Input) == 0 {
		given.Input = json.RawMessage("{}")
	}
	ctx := g.surroundings(given, -1)
	next, stop := iter.Pull2(func(yield func(words, error) bool) {
		wanted := true
		report := func(value any) { wanted = wanted && yield(words{"progress": value, "more": true}, nil) }
		var output any
		err := protected(func() (err error) {
			output, err = known.call(ctx, config, given.Input, report)
			return err
		})
		switch {
		case !wanted:
		case err != nil:
			yield(nil, err)
		default:
			yield(words{"output": output, "more": true}, nil)
		}
	})
	g.rest = func() (answer, error) {
		told, err, ok := next()
		if !ok {
			stop()
			return answer{}, io.EOF
		}
		return answer{header: told}, err
	}
	return g.goOn()
}
