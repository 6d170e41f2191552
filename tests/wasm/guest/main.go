// Command guest is a plugin whose components do what the rows, or the configuration, tell them to: also what no plugin
// should.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"dataflare.dev/sdk-go"
)

type none struct{}

// Row is what passes.
type Row struct {
	N int64 `json:"n"`
}

// Deed says what to do when the number `At` comes by.
type Deed struct {
	What string `json:"what,omitempty"`
	At   int64  `json:"at,omitempty"`
}

func init() {
	dataflare.Map("behave", "Passes rows on; at one of them it does what it is told.", behave)
	dataflare.Source("numbers", "Whole numbers.", openNumbers, dataflare.Gives[Row]())
	dataflare.Processor("totals", "How often each number came.", totals,
		dataflare.By("key"), total, dataflare.Takes[Row](), dataflare.Gives[Total]())
	dataflare.Operator("counter", "Numbers the rows.", openCounter, dataflare.Takes[Row](), dataflare.Gives[Counted]())
	dataflare.Tool("do", "Does what it is told.", func(ctx dataflare.Context, _ none, in Deed) (string, error) {
		do(ctx, in.What)
		return in.What, nil
	})
}

func behave(ctx dataflare.Context, config Deed, row Row) (Row, error) {
	if row.N == config.At {
		do(ctx, config.What)
	}
	return row, nil
}

func do(ctx dataflare.Context, what string) {
	switch what {
	case "loop":
		for {
		}
	case "recurse":
		fmt.Println(recurse(1))
	case "memory":
		var all [][]byte
		for {
			all = append(all, make([]byte, 16<<20))
			all[len(all)-1][0] = 1
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "nap":
		time.Sleep(10 * time.Millisecond)
	case "exit 0":
		os.Exit(0)
	case "exit 3":
		os.Exit(3)
	case "panic":
		panic("on purpose")
	case "panic beside":
		go panic("beside")
		time.Sleep(time.Millisecond)
	case "deadlock":
		<-make(chan int)
	case "flood":
		line := strings.Repeat("x", 100)
		for range 20_000 {
			fmt.Println(line)
		}
	case "flood host":
		for range 20_000 {
			ctx.Log().Info("again")
		}
	case "long line":
		fmt.Fprint(os.Stderr, strings.Repeat("y", 10<<20), "\nshort\n")
	case "file":
		report(os.ReadFile("/etc/passwd"))
	case "write":
		report(nil, os.WriteFile("/tmp/escaped", nil, 0o600))
	case "folder":
		report(os.ReadDir("/"))
	case "environment":
		panic(fmt.Sprint(os.Args, os.Environ()))
	}
}

func report(_ any, err error) { panic(fmt.Sprint("error: ", err)) }

func recurse(n int) int { return recurse(n+1) + recurse(n+2) }

type count struct {
	Count int64 `json:"count" default:"100"`
	Size  int64 `json:"size" default:"10"`
	Deed
}

type numbers struct{ config count }

func openNumbers(_ dataflare.Context, config count) (*numbers, error) { return &numbers{config}, nil }

func (n *numbers) Next(ctx dataflare.Context, _ dataflare.Split, after *int64) (dataflare.Batch, int64, error) {
	var start int64
	if after != nil {
		start = *after
	}
	if start >= n.config.Count {
		return dataflare.Batch{}, 0, io.EOF
	}
	end := min(start+n.config.Size, n.config.Count)
	var rows []Row
	for i := start; i < end; i++ {
		if i == n.config.At {
			do(ctx, n.config.What)
		}
		rows = append(rows, Row{i})
	}
	return dataflare.Rows(rows...), end, nil
}

type key struct {
	Key dataflare.Columns `json:"key"`
}

// Total is a row with the total of its key up to it.
type Total struct {
	N     int64 `json:"n"`
	Total int64 `json:"total"`
}

var total = dataflare.NewState[int64]("total")

func totals(ctx dataflare.Context, _ key, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[Row](batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	known, err := total.Get(ctx, batch)
	if err != nil {
		return dataflare.Batch{}, err
	}
	sums := map[int64]int64{}
	made := make([]Total, len(rows))
	for i, row := range rows {
		if _, begun := sums[row.N]; !begun && known[i] != nil {
			sums[row.N] = *known[i]
		}
		sums[row.N]++
		made[i] = Total{row.N, sums[row.N]}
		known[i] = &made[i].Total
	}
	return dataflare.Rows(made...), total.Put(ctx, batch, known)
}

type counter struct{ seen int64 }

// Counted is a row with its number.
type Counted struct {
	N   int64 `json:"n"`
	Row int64 `json:"row"`
}

func openCounter(dataflare.Context, none) (*counter, error) { return &counter{}, nil }

func (c *counter) Process(_ dataflare.Context, batch dataflare.Batch) (dataflare.Batch, error) {
	rows, err := dataflare.RowsOf[Row](batch)
	var made []Counted
	for _, row := range rows {
		made = append(made, Counted{row.N, c.seen})
		c.seen++
	}
	return dataflare.Rows(made...), err
}

func (c *counter) Snapshot() ([]byte, error) { return json.Marshal(c.seen) }

func (c *counter) Restore(data []byte, _ int) error { return json.Unmarshal(data, &c.seen) }

func main() {}
