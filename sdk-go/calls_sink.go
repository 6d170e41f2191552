package dataflare

import (
	"io"
	"iter"
)

func onSink(f func(*instance, writing, *request) (answer, error)) operation {
	return func(_ *Guest, open *instance, given *request) (answer, error) {
		driven, ok := open.driver.(writing)
		if !ok {
			return answer{}, open.cannot()
		}
		open.moment(given)
		return f(open, driven, given)
	}
}

func (i *instance) begin(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	return nothing, driven.begin(*given.Epoch)
}

func (i *instance) write(driven writing, given *request) (answer, error) {
	batch, err := i.decode(given, i.inputs[""])
	if err != nil {
		return answer{}, err
	}
	if err := driven.write(batch); err != nil {
		return answer{}, err
	}
	var parts [][]byte
	told := batch.calls.tell(&parts)
	return answer{words{"rejects": told}, parts}, nil
}

func (i *instance) prepare(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	token, err := driven.prepare(*given.Epoch, given.Last)
	return answer{header: words{"token": token}}, err
}

func (i *instance) commit(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	return nothing, driven.commit(*given.Epoch, given.Tokens)
}

func (i *instance) abort(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	return nothing, driven.abort(*given.Epoch, given.Tokens)
}

func (i *instance) recoverEpoch(driven writing, _ *request) (answer, error) {
	recoverer, ok := driven.author().(Recoverer)
	if !ok {
		return answer{header: words{"epoch": nil}}, nil
	}
	epoch, held, err := recoverer.Recover(i.context())
	if err != nil || !held {
		return answer{header: words{"epoch": nil}}, err
	}
	return answer{header: words{"epoch": epoch}}, nil
}

func readback(g *Guest, open *instance, given *request) (answer, error) {
	kept, ok := open.author().(Readbacker)
	if !ok {
		return answer{}, open.cannot()
	}
	next, stop := iter.Pull2(kept.Readback(open.context(), given.Stream))
	g.rest = func() (answer, error) {
		batch, err, more := next()
		if !more || err != nil {
			stop()
			if err == nil {
				err = io.EOF
			}
			return answer{}, err
		}
		part, err := open.encode(batch, Schema{Open: true})
		if err != nil {
			return answer{}, err
		}
		return answer{words{"outputs": []outputWords{{"", 0}}, "more": true}, [][]byte{part}}, nil
	}
	return g.goOn()
}
