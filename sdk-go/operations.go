package dataflare

type operation func(*Guest, *instance, *request) (answer, error)

// operations are those on an open instance.
var operations = map[string]operation{
	"splits":       onSource((*instance).splits),
	"read":         onSource((*instance).read),
	"stop_reading": onSource((*instance).stopReading),
	"acknowledge":  onSource((*instance).acknowledge),
	"divide":       onSource((*instance).divide),
	"process":      onProcessor((*instance).processBatch),
	"timer":        onProcessor((*instance).timer),
	"watermark":    onProcessor((*instance).watermark),
	"finish":       onProcessor((*instance).finish),
	"begin":        onSink((*instance).begin),
	"write":        onSink((*instance).write),
	"prepare":      onSink((*instance).prepare),
	"commit":       onSink((*instance).commit),
	"abort":        onSink((*instance).abort),
	"recover":      onSink((*instance).recoverEpoch),
	"readback":     readback,
	"snapshot":     snapshot,
	"restore":      restore,
}

func (i *instance) cannot() error {
	return problem("config", "guest.operation", "`%s` is a %s: it has no such operation", i.name, i.kind)
}

// moment is what the host says of a call: its epoch, its ingest time, the seed of its random numbers.
func (i *instance) moment(given *request) {
	ctx := i.context()
	if given.Epoch != nil {
		ctx.words.Epoch = *given.Epoch
	}
	if given.Clock != nil {
		ctx.now = given.Clock.UTC()
	}
	if given.Seed != nil {
		ctx.seed, ctx.random = string(given.Seed), nil
	}
}

type outputWords struct {
	Name string `json:"name"`
	Part int    `json:"part"`
}

func snapshot(_ *Guest, open *instance, _ *request) (answer, error) {
	kept, ok := open.author().(Snapshotter)
	if !ok {
		return nothing, nil
	}
	data, err := kept.Snapshot()
	if err != nil || data == nil {
		return nothing, err
	}
	return answer{words{"part": 0}, [][]byte{data}}, nil
}

func restore(_ *Guest, open *instance, given *request) (answer, error) {
	kept, ok := open.author().(Snapshotter)
	if !ok {
		return answer{}, open.cannot()
	}
	data, err := given.part()
	if err != nil {
		return answer{}, err
	}
	version := 1
	if given.Version != nil {
		version = *given.Version
	}
	return nothing, kept.Restore(append([]byte(nil), data...), version)
}
