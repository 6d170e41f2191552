// Package vectors has the components that tests/vectors/guest.json calls.
package vectors

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"dataflare.dev/sdk-go"
)

type none struct{}

// N is a row with a number.
type N struct {
	N int64 `json:"n"`
}

func init() {
	dataflare.Source("numbers", "Whole numbers from zero, one split a part.", openNumbers, dataflare.Gives[Numbered]())
	dataflare.Processor("times",
		"Multiplies `n`; a negative one is rejected, 13 refuses the batch, 99 asks to be called again, 77 fails.", times,
		dataflare.Takes[N](), dataflare.Gives[N](), dataflare.Cardinality("one"))
	dataflare.Processor("parity", "Even numbers to the main output, odd ones to `odd`.", parity,
		dataflare.Takes[N](), dataflare.Outputs("odd"))
	dataflare.Processor("totals", "A running total of `n` for each key.", totals,
		dataflare.By("key"), total, dataflare.Adds[Total]())
	dataflare.Processor("echo", "Gives back every value as the program sees it.", echo)
	dataflare.Source("shop", "What a source can do beside reading: what it answers shows what it was asked.", openShop,
		dataflare.Gives[order]("", "late"), dataflare.OnCreated(created), dataflare.OnUpdated(updated),
		dataflare.OnDeleted(deleted), dataflare.MigratePosition(migrated))
	dataflare.Operator("alarm", "Gives what its timers, the watermark and the end bring.", openAlarm,
		dataflare.By("key"), dataflare.Takes[word](), dataflare.Gives[word]())
	dataflare.Operator("ledger", "Adds up `n` for each key, and tells at the end; version 1 kept a sum as a number.", openLedger,
		dataflare.By("key"), sums, dataflare.Version(2), dataflare.Gives[Summed](), dataflare.MigrateState(summed))
	dataflare.Operator("counter", "Numbers the rows; what it has counted is its snapshot.", openCounter,
		dataflare.Gives[Counted]())
	dataflare.Sink("shelf", "Keeps numbers: staged by epoch, on the shelf once committed.", dataflare.Staged, openShelf,
		dataflare.Takes[N]())
	dataflare.Tool("add", "Adds, and tells how far it is.", add)
}

// Numbers is the configuration of the source.
type Numbers struct {
	Parts int `json:"parts" default:"1"`
	Count int `json:"count" default:"5"`
	Size  int `json:"size" default:"2"`
}

// Numbered is a row of the source.
type Numbered struct {
	Part int64 `json:"part"`
	N    int64 `json:"n"`
}

func openNumbers(_ dataflare.Context, config Numbers) (*numbers, error) {
	return &numbers{config: config, idled: map[string]bool{}}, nil
}

type numbers struct {
	config Numbers
	idled  map[string]bool
}

func (n *numbers) Splits(dataflare.Context, dataflare.Known) ([]dataflare.Split, json.RawMessage, error) {
	splits := make([]dataflare.Split, n.config.Parts)
	for i := range splits {
		splits[i] = dataflare.Split{ID: fmt.Sprintf("part-%d", i), Data: i}
	}
	return splits, nil, nil
}

func (n *numbers) Seek(_ dataflare.Context, split dataflare.Split, _ *int) error {
	n.idled[split.ID] = false
	return nil
}

func (n *numbers) Next(_ dataflare.Context, split dataflare.Split, after *int) (dataflare.Batch, int, error) {
	var part int64
	if err := split.Read(&part); err != nil {
		return dataflare.Batch{}, 0, err
	}
	start := 0
	if after != nil {
		start = *after
	}
	if start >= n.config.Count {
		if n.idled[split.ID] {
			return dataflare.Batch{}, 0, io.EOF
		}
		n.idled[split.ID] = true
		return dataflare.Batch{}, n.config.Count, dataflare.IdleAt(1500 * time.Millisecond)
	}
	end := min(start+n.config.Size, n.config.Count)
	var rows []Numbered
	for i := start; i < end; i++ {
		rows = append(rows, Numbered{part, int64(i)})
	}
	return dataflare.Rows(rows...), end, nil
}

func (n *numbers) Acknowledge(dataflare.Context, dataflare.Split, int) error { return nil }

// By is the configuration of `times`.
type By struct {
	By int64 `json:"by" default:"2"`
}

func times(_ dataflare.Context, config By, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[N](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	if slices.Contains(rows, N{13}) {
		return dataflare.Batch{}, dataflare.Reject("unlucky", "13 is in it")
	}
	if slices.Contains(rows, N{99}) {
		return dataflare.Batch{}, dataflare.Retry(2500*time.Millisecond, nil)
	}
	if slices.Contains(rows, N{77}) {
		panic("77 is in it")
	}
	var made []N
	for i, row := range rows {
		if row.N < 0 {
			batch.Reject(i, "negative", "`n` is negative")
			continue
		}
		made = append(made, N{row.N * config.By})
	}
	return dataflare.Rows(made...), nil
}

func parity(_ dataflare.Context, _ none, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[N](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	var even, odd []N
	for _, row := range rows {
		if row.N%2 == 0 {
			even = append(even, row)
		} else {
			odd = append(odd, row)
		}
	}
	return dataflare.Outs(dataflare.Rows(even...), dataflare.Rows(odd...).To("odd")), nil
}

func echo(_ dataflare.Context, _ none, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[dataflare.Row](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	made := make([]dataflare.Row, len(rows))
	for i, row := range rows {
		for _, name := range row.Columns() {
			made[i].Set(name, row.Get(name))
		}
	}
	return dataflare.Rows(made...), nil
}

type order struct {
	ID int64 `json:"id"`
}

func openShop(dataflare.Context, none) (*shop, error) { return &shop{}, nil }

type shop struct{}

func (s *shop) Next(ctx dataflare.Context, _ dataflare.Split, after *int) (dataflare.Batch, int, error) {
	if after != nil {
		return dataflare.Batch{}, 0, io.EOF
	}
	ctx.Refuse(dataflare.Refused{Code: "garbled", Message: "not a row", Place: "line 1", Raw: []byte{0, 255}})
	return dataflare.Rows(order{7}).To("late"), 1, nil
}

func (s *shop) Divide(_ dataflare.Context, split dataflare.Split, at *int) ([]dataflare.Split, error) {
	return []dataflare.Split{{ID: split.ID + "-a", Data: at}, {ID: split.ID + "-b", After: []string{split.ID + "-a"}}}, nil
}

func migrated(version int, old json.RawMessage) (int, error) {
	var position int
	err := json.Unmarshal(old, &position)
	return position*10 + version, err
}

func created(dataflare.Context, none) (any, error) { return map[string]int{"slot": 1}, nil }

func updated(_ dataflare.Context, _ none, made, before json.RawMessage) (any, error) {
	return map[string]json.RawMessage{"made": made, "before": before}, nil
}

func deleted(_ dataflare.Context, _ none, made json.RawMessage) error {
	return dataflare.Reject("kept", "%s stays", made)
}

// Alarm is the configuration of `alarm`.
type Alarm struct {
	Key dataflare.Columns `json:"key" default:"k"`
}

type word struct {
	K string `json:"k"`
}

func openAlarm(dataflare.Context, Alarm) (*alarm, error) { return &alarm{}, nil }

type alarm struct{}

func (a *alarm) Process(dataflare.Context, dataflare.Batch) (dataflare.Batch, error) {
	return dataflare.Rows[word](), nil
}

func (a *alarm) Timer(_ dataflare.Context, keys dataflare.Batch, at time.Time) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[word](keys)
	made := make([]word, len(rows))
	for i, row := range rows {
		made[i].K = row.K + at.Format(" 15:04")
	}
	return dataflare.Rows(made...), err
}

func (a *alarm) Watermark(_ dataflare.Context, at time.Time) (dataflare.Batch, error) {
	return dataflare.Rows(word{at.Format("watermark 15:04")}), nil
}

func (a *alarm) Finish(dataflare.Context) (dataflare.Batch, error) {
	return dataflare.Rows(word{"finish"}), nil
}

// Key is the configuration of `totals`.
type Key struct {
	Key dataflare.Columns `json:"key"`
}

// Total is what `totals` adds to a row.
type Total struct {
	dataflare.Row
	N     int64 `json:"n"`
	Total int64 `json:"total"`
}

var total = dataflare.NewState[int64]("total")

func totals(ctx dataflare.Context, config Key, batch dataflare.Batch) (dataflare.Batch, error) {
	type row struct {
		dataflare.Row
		N int64 `json:"n"`
	}
	rows, err := dataflare.RowsOf[row](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	known, err := total.Get(ctx, batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	sums := map[any]int64{}
	made := make([]Total, len(rows))
	for i, row := range rows {
		key := row.Get(config.Key[0])
		if _, begun := sums[key]; !begun && known[i] != nil {
			sums[key] = *known[i]
		}
		sums[key] += row.N
		made[i] = Total{row.Row, row.N, sums[key]}
		known[i] = &made[i].Total
	}
	return dataflare.Rows(made...), total.Put(ctx, batch, known)
}

// Kept is a sum as version 2 of `ledger` keeps it.
type Kept struct {
	Sum int64 `json:"sum"`
}

// Summed is the row that `ledger` gives at the end.
type Summed struct {
	Keys int64 `json:"keys"`
	Sum  int64 `json:"sum"`
}

var sums = dataflare.NewState[Kept]("sums")

func openLedger(dataflare.Context, Alarm) (*ledger, error) { return &ledger{}, nil }

type ledger struct{}

func (l *ledger) Process(ctx dataflare.Context, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[N](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	held, err := sums.Get(ctx, batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	for i, row := range rows {
		if held[i] == nil {
			held[i] = &Kept{}
		}
		held[i] = &Kept{held[i].Sum + row.N}
	}
	return dataflare.Rows[Summed](), sums.Put(ctx, batch, held)
}

func (l *ledger) Finish(ctx dataflare.Context) (dataflare.Batch, error) {
	var made Summed
	err := sums.Scan(ctx, func(_ string, held Kept) error {
		made.Keys++
		made.Sum += held.Sum
		return nil
	})
	return dataflare.Rows(made), err
}

func summed(version int, name string, old json.RawMessage) (any, error) {
	var sum int64
	if err := json.Unmarshal(old, &sum); err != nil {
		return nil, err
	}
	if sum < 0 {
		return nil, dataflare.Reject("overdrawn", "version %d has %d in `%s`", version, sum, name)
	}
	return Kept{sum}, nil
}

// Counted is a row of `counter`.
type Counted struct {
	dataflare.Row
	Number int64 `json:"row"`
}

func openCounter(dataflare.Context, none) (*counter, error) { return &counter{}, nil }

type counter struct{ seen int64 }

func (c *counter) Process(_ dataflare.Context, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[dataflare.Row](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	made := make([]Counted, len(rows))
	for i, row := range rows {
		made[i] = Counted{row, c.seen}
		c.seen++
	}
	return dataflare.Rows(made...), nil
}

func (c *counter) Snapshot() ([]byte, error) { return strconv.AppendInt(nil, c.seen, 10), nil }

func (c *counter) Restore(data []byte, _ int) (err error) {
	c.seen, err = strconv.ParseInt(string(data), 10, 64)
	return err
}

func openShelf(dataflare.Context, none) (*shelf, error) {
	return &shelf{shelf: map[int64][]int64{}}, nil
}

type shelf struct {
	staged []int64
	shelf  map[int64][]int64
}

func (s *shelf) Begin(dataflare.Context, int64) error {
	s.staged = []int64{}
	return nil
}

func (s *shelf) Write(_ dataflare.Context, batch dataflare.Batch) error {
	rows, err := dataflare.RowsOf[N](batch)
	if err != nil {
		return err
	}
	for i, row := range rows {
		if row.N < 0 {
			batch.Reject(i, "negative", "`n` is negative")
			continue
		}
		s.staged = append(s.staged, row.N)
	}
	return nil
}

func (s *shelf) Prepare(dataflare.Context, int64, bool) ([]int64, error) { return s.staged, nil }

func (s *shelf) Commit(_ dataflare.Context, epoch int64, tokens [][]int64) error {
	s.shelf[epoch] = slices.Concat(tokens...)
	return nil
}

func (s *shelf) Abort(dataflare.Context, int64, [][]int64) error {
	s.staged = nil
	return nil
}

func (s *shelf) Recover(dataflare.Context) (int64, bool, error) {
	if len(s.shelf) == 0 {
		return 0, false, nil
	}
	return slices.Max(slices.Collect(maps.Keys(s.shelf))), true, nil
}

func (s *shelf) Readback(dataflare.Context, string) iter.Seq2[dataflare.Batch, error] {
	return func(yield func(dataflare.Batch, error) bool) {
		for _, epoch := range slices.Sorted(maps.Keys(s.shelf)) {
			rows := make([]N, len(s.shelf[epoch]))
			for i, n := range s.shelf[epoch] {
				rows[i] = N{n}
			}
			if !yield(dataflare.Rows(rows...), nil) {
				return
			}
		}
	}
}

// Note is the configuration of the tool.
type Note struct {
	Note string `json:"note" default:"sum"`
}

// Sum is the input of the tool.
type Sum struct {
	A int `json:"a"`
	B int `json:"b" default:"1"`
}

func add(ctx dataflare.Context, config Note, given Sum) (map[string]int, error) {
	dataflare.Report(ctx, map[string]int{"done": 1})
	return map[string]int{config.Note: given.A + given.B}, nil
}
