package dataflare

import "encoding/json"

// OnCreated makes what a source or sink needs once: a slot, a table. It may come again, for what is made already. What
// it gives is kept, and told to the others.
func OnCreated[C any](f func(Context, C) (any, error)) Option {
	return option(func(c *component) {
		sameConfig[C](c, "OnCreated")
		c.created = func(ctx Context, config any) (any, error) { return f(ctx, config.(C)) }
		c.operations = append(c.operations, "on_created")
	})
}

// OnUpdated is told of a changed configuration: what was made, and the configuration before.
func OnUpdated[C any](f func(ctx Context, config C, made, before json.RawMessage) (any, error)) Option {
	return option(func(c *component) {
		sameConfig[C](c, "OnUpdated")
		c.updated = func(ctx Context, config any, made, before json.RawMessage) (any, error) {
			return f(ctx, config.(C), made, before)
		}
		c.operations = append(c.operations, "on_updated")
	})
}

// OnDeleted takes away what was made.
func OnDeleted[C any](f func(ctx Context, config C, made json.RawMessage) error) Option {
	return option(func(c *component) {
		sameConfig[C](c, "OnDeleted")
		c.deleted = func(ctx Context, config any, made json.RawMessage) error { return f(ctx, config.(C), made) }
		c.operations = append(c.operations, "on_deleted")
	})
}

// MigratePosition takes the positions of an older Version of a source.
func MigratePosition[P any](f func(version int, old json.RawMessage) (P, error)) Option {
	return option(func(c *component) {
		c.migratePosition = func(version int, old json.RawMessage) (any, error) { return f(version, old) }
		c.operations = append(c.operations, "migrate_position")
	})
}

// MigrateState takes the values of a State, by its name, of an older Version of a processor.
func MigrateState(f func(version int, name string, old json.RawMessage) (any, error)) Option {
	return option(func(c *component) {
		c.migrateState = f
		c.operations = append(c.operations, "migrate_state")
	})
}

// beforehand are the operations that need no open instance, and come with one, too.
var beforehand = map[string]func(*component, Context, any, *request) (answer, error){
	"on_created": func(c *component, ctx Context, config any, _ *request) (answer, error) {
		if c.created == nil {
			return answer{header: words{"made": nil}}, nil
		}
		made, err := c.created(ctx, config)
		return answer{header: words{"made": made}}, err
	},
	"on_updated": func(c *component, ctx Context, config any, given *request) (answer, error) {
		if c.updated == nil {
			return answer{header: words{"made": given.Made}}, nil
		}
		made, err := c.updated(ctx, config, given.Made, given.Before)
		return answer{header: words{"made": made}}, err
	},
	"on_deleted": func(c *component, ctx Context, config any, given *request) (answer, error) {
		if c.deleted == nil {
			return nothing, nil
		}
		return nothing, c.deleted(ctx, config, given.Made)
	},
	"migrate_position": func(c *component, _ Context, _ any, given *request) (answer, error) {
		if c.migratePosition == nil {
			return answer{}, problem("config", "source.position_version", "`%s` takes no positions of an older version", c.name)
		}
		return takenOver(given, "position", c.migratePosition)
	},
	"migrate_state": func(c *component, _ Context, _ any, given *request) (answer, error) {
		if c.migrateState == nil {
			return answer{}, problem("config", "state.version", "`%s` takes no state of an older version", c.name)
		}
		return takenOver(given, "value", func(version int, old json.RawMessage) (any, error) {
			return c.migrateState(version, given.Name, old)
		})
	},
}

// takenOver is what f makes of the values in a part; of one alone, where a host of contract 1.0 sends it as `old`.
func takenOver(given *request, one string, f func(version int, old json.RawMessage) (any, error)) (answer, error) {
	if given.Version == nil {
		return answer{}, missing("version")
	}
	if given.Old != nil {
		made, err := f(*given.Version, given.Old)
		return answer{header: words{one: made}}, err
	}
	part, err := given.part()
	if err != nil {
		return answer{}, err
	}
	var olds []json.RawMessage
	if err := json.Unmarshal(part, &olds); err != nil {
		return answer{}, problem("fatal", "guest.batch", "a part is not a JSON array: %v", err)
	}
	made := make([]any, len(olds))
	for i, old := range olds {
		if made[i], err = f(*given.Version, old); err != nil {
			return answer{}, err
		}
	}
	packed, err := json.Marshal(made)
	return answer{words{"part": 0}, [][]byte{packed}}, err
}

// before answers one of them, on the open instance that the request names, or without one.
func (g *Guest) before(given *request) (answer, error) {
	operation := beforehand[given.Op]
	if given.Instance != nil {
		open, err := g.instance(given)
		if err != nil {
			return answer{}, err
		}
		return operation(open.component, open.context(), open.config, given)
	}
	known, config, err := g.find(given)
	if err != nil {
		return answer{}, err
	}
	return operation(known, g.surroundings(given, -1), config, given)
}
