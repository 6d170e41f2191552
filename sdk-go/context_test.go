package dataflare_test

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/dftest"
	"dataflare.dev/sdk-go/internal/ipc"
)

// Everything a component can ask, and every kind of component, through the frames.

type nothing struct{}

type sum struct {
	Key string `json:"key"`
	N   int64  `json:"n"`
}

type keySettings struct {
	Key dataflare.Columns `json:"key" default:"[\"key\"]"`
}

type intoSettings struct {
	Into string `json:"into"`
}

type running struct {
	Seen  int   `json:"seen"`
	Total int64 `json:"total"`
}

type total struct {
	Key   string `json:"key"`
	Total int64  `json:"total"`
	Seen  int    `json:"seen"`
}

func init() {
	dataflare.Keyed("running", "Sums by key.", "key", func(_ dataflare.Context, _ keySettings, state *running, rows []sum) ([]total, error) {
		for _, row := range rows {
			state.Seen++
			state.Total += row.N
		}
		if rows[0].N < 0 {
			return nil, dataflare.Reject("negative", "%d is negative", rows[0].N)
		}
		return []total{{rows[0].Key, state.Total, state.Seen}}, nil
	})
	dataflare.Map("halves", "Halves even numbers.", func(_ dataflare.Context, _ nothing, row sum) (sum, error) {
		switch {
		case row.N%2 != 0:
			return row, dataflare.Reject("odd", "%d is odd", row.N)
		case row.N == 0:
			return row, dataflare.ErrSkip
		case row.N == 666:
			return row, errors.New("broken")
		}
		return sum{row.Key, row.N / 2}, nil
	})
	dataflare.Map("doubles", "Doubles a number.", func(_ dataflare.Context, config intoSettings, row dataflare.Row) (dataflare.Row, error) {
		n, _ := row.Int("n")
		row.Set(config.Into, 2*n)
		return row, nil
	}, dataflare.Adds[struct{ Double int64 }]())
	dataflare.Processor("sizes", "Counts rows.", func(_ dataflare.Context, _ nothing, batch dataflare.Batch) (dataflare.Batch, error) {
		return dataflare.Rows(sum{"", int64(batch.Len())}), nil
	})
	dataflare.Explode("counts", "Counts up to a number.", func(_ dataflare.Context, _ nothing, row sum) ([]sum, error) {
		var made []sum
		for n := range row.N {
			made = append(made, sum{row.Key, n})
		}
		return made, nil
	})
	dataflare.Tool("asks", "Asks everything.", asks)
	dataflare.Source("lines", "Lines of an input.", func(ctx dataflare.Context, _ nothing) (*lines, error) {
		return &lines{input: ctx.Input("tty")}, nil
	}, dataflare.OnCreated(func(dataflare.Context, nothing) (any, error) { return "slot", nil }),
		dataflare.OnUpdated(func(_ dataflare.Context, _ nothing, made, before json.RawMessage) (any, error) {
			return string(made) + string(before), nil
		}),
		dataflare.OnDeleted(func(_ dataflare.Context, _ nothing, made json.RawMessage) error {
			return dataflare.Reject("kept", "%s", made)
		}),
		dataflare.Version(2),
		dataflare.MigratePosition(func(version int, old json.RawMessage) (int, error) { return version * 100, nil }),
		dataflare.Check(func(dataflare.Context, nothing) error {
			return errors.Join(dataflare.Invalid("a", "no"), dataflare.Invalid("b", "no"))
		}),
		dataflare.Discover(func(dataflare.Context, nothing) ([]dataflare.Stream, error) {
			schema := dataflare.SchemaOf[sum]()
			return []dataflare.Stream{{Name: "s", Schema: &schema, Key: []string{"key"}}}, nil
		}))
	dataflare.Operator("timers", "Sets timers.", func(dataflare.Context, keySettings) (*alarm, error) { return &alarm{}, nil },
		dataflare.By("key"), dataflare.Takes[sum]())
	dataflare.Append("log", "Logs rows.", func(ctx dataflare.Context, _ nothing, batch dataflare.Batch) error {
		rows, err := dataflare.RowsOf[sum](batch)
		for i, row := range rows {
			if row.N < 0 {
				batch.Reject(i, "negative", "no")
				continue
			}
			ctx.Log().With("n", row.N).Info(row.Key)
		}
		return err
	})
}

type lines struct {
	input dataflare.Input
	count int
}

func (l *lines) Next(ctx dataflare.Context, _ dataflare.Split, _ *int) (dataflare.Batch, int, error) {
	piece, err := l.input.Receive(ctx.Demand().Bytes, ctx.Demand().Within)
	if err != nil {
		return dataflare.Batch{}, 0, err
	}
	l.count++
	if strings.HasPrefix(string(piece), "#") {
		ctx.Refuse(dataflare.Refused{Code: "comment", Message: "no row", Place: "line 2", Raw: piece})
		return dataflare.Batch{}, l.count, nil
	}
	return dataflare.Rows(sum{string(piece), int64(l.count)}).To("lines"), l.count, nil
}

type alarm struct{}

func (a *alarm) Process(ctx dataflare.Context, batch dataflare.Batch) (dataflare.Batch, error) {
	at := make([]time.Time, batch.Len())
	for i := range at {
		at[i] = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	if err := ctx.Timers().Set(batch, at, true); err != nil {
		return dataflare.Batch{}, err
	}
	return dataflare.Batch{}, ctx.Timers().Drop(batch)
}

func (a *alarm) Watermark(_ dataflare.Context, at time.Time) (dataflare.Batch, error) {
	return dataflare.Rows(sum{"watermark", at.Unix()}), nil
}

func (a *alarm) Finish(dataflare.Context) (dataflare.Batch, error) {
	return dataflare.Rows(sum{"finish", 1}), nil
}

type asked struct {
	Secret, Body string
	Status       int
	Piece        string
	Stopping     bool
	Denied       string
}

func asks(ctx dataflare.Context, _, _ nothing) (asked, error) {
	var told asked
	var err error
	if told.Secret, err = ctx.Secret("token"); err != nil {
		return told, err
	}
	response, err := ctx.HTTP().Do(dataflare.Request{URL: "https://api.example/x", Body: []byte("ping"), Timeout: time.Second})
	if err != nil {
		return told, err
	}
	told.Body, told.Status = string(response.Body), response.Status
	piece, err := ctx.Input("udp").Receive(10, time.Second)
	told.Piece = string(piece)
	if _, denied := ctx.Input("tcp").Receive(10, 0); denied != nil {
		told.Denied = denied.Error()
	}
	ctx.Count("seen", 2)
	ctx.Count("seen", 3)
	ctx.Gauge("level", 7)
	ctx.Log().WithGroup("g").Warn("careful", "a", 1)
	ctx.Progress(1, 2, "half")
	told.Stopping = ctx.Err() != nil
	return told, errors.Join(err, ctx.Limit("api", "1/s"), ctx.RequestCheckpoint())
}

func TestAComponentAsksItsHost(t *testing.T) {
	host := &dftest.Host{
		Secrets:  map[string]string{"token": "s3cret"},
		Inputs:   map[string][][]byte{"udp": {[]byte("datagram")}},
		Stopping: true,
		HTTP: func(request dataflare.Request) (*dataflare.Response, error) {
			text := request.Method + " " + request.URL + " " + string(request.Body) + " " + request.Timeout.String()
			return &dataflare.Response{Status: 201, Body: []byte(text)}, nil
		},
	}
	got, failed := dftest.Call[asked](dftest.Open(t, "tool:asks", nil, host), nothing{})
	wanted := asked{"s3cret", "GET https://api.example/x ping 1s", 201, "datagram", true, "permission.denied: `input tcp` is not granted"}
	if failed != nil || got != wanted {
		t.Errorf("%+v, %v", got, failed)
	}
	if host.Metrics["seen"] != 5 || host.Metrics["level"] != 7 || host.Checkpoints != 1 {
		t.Errorf("%+v", host)
	}
	if !slices.Equal(host.Logged, []string{"warning: careful g.a=1"}) {
		t.Errorf("%q", host.Logged)
	}
}

func TestStateIsKeptByKeyAndARefusedCallLeavesNone(t *testing.T) {
	made := dftest.Open(t, "processor:running", nil, &dftest.Host{})
	first := dftest.Process[total](made, sum{"a", 1}, sum{"b", 2}, sum{"a", 3}, sum{"c", -1})
	if first.Error != nil || !slices.Equal(first.Rows, []total{{"a", 4, 2}, {"b", 2, 1}}) {
		t.Errorf("%+v", first)
	}
	if !slices.Equal(first.Rejected["negative"], []int{3}) {
		t.Errorf("%v", first.Rejected)
	}
	second := dftest.Process[total](made, sum{"c", 5}, sum{"a", -4}, sum{"a", 9}, sum{"b", 1})
	if !slices.Equal(second.Rows, []total{{"c", 5, 1}, {"b", 3, 2}}) || !slices.Equal(second.Rejected["negative"], []int{1, 2}) {
		t.Errorf("%+v", second)
	}
	if third := dftest.Process[total](made, sum{"a", 1}); !slices.Equal(third.Rows, []total{{"a", 5, 3}}) {
		t.Errorf("%+v", third)
	}
}

func TestRowsAreMappedDroppedRefusedAndFail(t *testing.T) {
	made := dftest.Open(t, "processor:halves", nil, nil)
	got := dftest.Process[sum](made, sum{"a", 4}, sum{"b", 3}, sum{"c", 0}, sum{"d", 5})
	if !slices.Equal(got.Rows, []sum{{"a", 2}}) || !slices.Equal(got.Rejected["odd"], []int{1, 3}) {
		t.Errorf("%+v", got)
	}
	if got := dftest.Process[sum](made, sum{"a", 2}, sum{"a", 666}); got.Error == nil || got.Error.Message != "row 1: broken" {
		t.Errorf("%+v", got.Error)
	}
	if got := dftest.Process[sum](dftest.Open(t, "processor:counts", nil, nil), sum{"a", 2}, sum{"b", 0}); !slices.Equal(got.Rows, []sum{{"a", 0}, {"a", 1}}) {
		t.Errorf("%+v", got)
	}
}

func TestAnInputWithoutItsColumnsIsRefusedBeforeItRuns(t *testing.T) {
	type other struct{ N string }
	refused := dftest.Process[sum](dftest.Open(t, "processor:halves", nil, nil), sum{"a", 2}).Error
	if refused != nil {
		t.Error(refused)
	}
	guest := dataflare.NewGuest(nil)
	schema := text(ipc.AppendSchema(nil, dataflare.SchemaOf[other]()))
	told := answered(t, guest, `{"op":"plan","component":"processor:halves","schemas":{"":{"arrow":`+schema+`}}}`)
	failed, _ := told["error"].(map[string]any)
	wanted := "`halves` cannot read its input: there is no column `key`; the column `n` is string, not int64"
	if failed["code"] != "step.input" || failed["message"] != wanted {
		t.Errorf("%v", told)
	}
}

func TestARowThatIsNoStructMayHaveWhatIsAdded(t *testing.T) {
	type doubled struct {
		N      int64
		Double int64
	}
	made := dftest.Open(t, "processor:doubles", map[string]any{"into": "double"}, nil)
	if got := dftest.Process[doubled](made, sum{"a", 2}); got.Error != nil || !slices.Equal(got.Rows, []doubled{{2, 4}}) {
		t.Errorf("%+v", got)
	}
	made = dftest.Open(t, "processor:doubles", map[string]any{"into": "unknown"}, nil)
	if got := dftest.Process[doubled](made, sum{"a", 2}); got.Error == nil || got.Error.Code != "step.unknown_column" {
		t.Errorf("%+v", got)
	}
}

func TestABatchThatIsCutShortIsRefusedWhoeverLooks(t *testing.T) {
	guest := dataflare.NewGuest(nil)
	answered(t, guest, `{"op":"open","instance":1,"component":"processor:sizes","encoding":"json"}`)
	for _, part := range []string{`[{"n":1}`, `[{"n":1},`, `[{"n":1}]]`, `[{"n"`} {
		if told := answered(t, guest, `{"op":"process","instance":1,"part":0}`, part); code(told) != "guest.batch" {
			t.Errorf("%s: %v", part, told)
		}
	}
}

func TestASourceReadsAnInputAndRefusesWhatIsNoRow(t *testing.T) {
	pieces := [][]byte{[]byte("one"), []byte("# no"), []byte("three")}
	steps := dftest.Read[sum](dftest.Open(t, "source:lines", nil, &dftest.Host{Inputs: map[string][][]byte{"tty": pieces}}), nil, 10)
	if len(steps) != 3 || steps[0].Rows[0] != (sum{"one", 1}) || steps[0].Stream != "lines" || string(steps[2].Position) != "3" {
		t.Errorf("%+v", steps)
	}
	if !steps[1].Idle || string(steps[1].Position) != "2" {
		t.Errorf("%+v", steps[1])
	}
}

func TestWhatNeedsNoInstanceIsAnsweredWithoutOne(t *testing.T) {
	guest := dataflare.NewGuest(nil)
	for request, wanted := range map[string]string{
		`{"op":"on_created","component":"source:lines"}`:                             `{"made":"slot","parts":[]}`,
		`{"op":"on_updated","component":"source:lines","made":1,"before":{}}`:        `{"made":"1{}","parts":[]}`,
		`{"op":"migrate_position","component":"source:lines","version":1,"old":"x"}`: `{"parts":[],"position":100}`,
		`{"op":"on_created","component":"processor:halves"}`:                         `{"made":null,"parts":[]}`,
		`{"op":"on_deleted","component":"sink:log","made":null}`:                     `{"parts":[]}`,
		`{"op":"plan","component":"source:lines"}`:                                   `{"parts":[],"schemas":null}`,
	} {
		if got := text(answered(t, guest, request)); got != wanted {
			t.Errorf("%s: %s", request, got)
		}
	}
	if told := answered(t, guest, `{"op":"on_deleted","component":"source:lines","made":7}`); code(told) != "kept" {
		t.Errorf("%v", told)
	}
	if told := answered(t, guest, `{"op":"migrate_state","component":"processor:running","version":1,"old":1,"name":"state"}`); code(told) != "state.version" {
		t.Errorf("%v", told)
	}
	problems := answered(t, guest, `{"op":"check","component":"source:lines"}`)["problems"].([]any)
	if len(problems) != 2 || problems[1].(map[string]any)["pointer"] != "/b" {
		t.Errorf("%v", problems)
	}
	streams := answered(t, guest, `{"op":"discover","component":"source:lines"}`)["streams"].([]any)
	if key := streams[0].(map[string]any)["key"]; text(key) != `["key"]` {
		t.Errorf("%v", streams)
	}
}

func TestTimersWatermarksAndTheEnd(t *testing.T) {
	host := &dftest.Host{}
	made := dftest.Open(t, "processor:timers", nil, host)
	if got := dftest.Process[sum](made, sum{"a", 1}); got.Error != nil {
		t.Fatal(got.Error)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if !slices.Equal(host.Timers, []dftest.Timer{{At: at, Event: true}, {}}) {
		t.Errorf("%v", host.Timers)
	}
	if got := dftest.Watermark[sum](made, at); !slices.Equal(got.Rows, []sum{{"watermark", at.Unix()}}) {
		t.Errorf("%+v", got)
	}
	if got := dftest.Finish[sum](made); !slices.Equal(got.Rows, []sum{{"finish", 1}}) {
		t.Errorf("%+v", got)
	}
}

func TestASinkThatAppendsRefusesRows(t *testing.T) {
	host := &dftest.Host{}
	made := dftest.Open(t, "sink:log", nil, host)
	dftest.Begin[sum](made, 1)
	refused := dftest.Write(made, sum{"a", 1}, sum{"b", -1}, sum{"c", -1})
	if !slices.Equal(refused["negative"], []int{1, 2}) || !slices.Equal(host.Logged, []string{"info: a n=1"}) {
		t.Errorf("%v %v", refused, host.Logged)
	}
	if token := made.Prepare(1); string(token) != "null" {
		t.Errorf("%s", token)
	}
}

func TestServingEndsWithItsInput(t *testing.T) {
	var out strings.Builder
	if err := dataflare.ServeOn(strings.NewReader(""), &out); err != nil || out.Len() > 0 {
		t.Errorf("%v %q", err, out.String())
	}
	if err := dataflare.ServeOn(strings.NewReader("\x02\x00"), io.Discard); err == nil {
		t.Error("a frame that is cut short ended well")
	}
}
