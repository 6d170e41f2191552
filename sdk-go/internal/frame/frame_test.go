package frame_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"dataflare.dev/sdk-go/internal/frame"
)

func TestAFrameIsReadAsItWasWritten(t *testing.T) {
	for _, header := range []string{`{}`, `{"op":"open","a":[1,{"parts":2}]}`} {
		for _, parts := range [][][]byte{nil, {{}}, {[]byte("abc"), {}, {0, 255}}} {
			packed, err := frame.Append([]byte("before"), json.RawMessage(header), parts)
			if err != nil {
				t.Fatal(err)
			}
			packed = packed[len("before"):]
			stream := bytes.NewReader(append(append([]byte{}, packed...), packed...))
			for range 2 {
				_, got, err := frame.Read(stream)
				if err != nil || !equal(got, parts) {
					t.Fatalf("%s %q: %q, %v", header, parts, got, err)
				}
			}
			if _, _, err := frame.Read(stream); err != io.EOF {
				t.Errorf("the stream ends with %v", err)
			}
			if _, got, err := frame.Unpack(packed); err != nil || !equal(got, parts) {
				t.Errorf("%s %q: %q, %v", header, parts, got, err)
			}
			for cut := range packed {
				if _, _, err := frame.Unpack(packed[:cut]); err == nil {
					t.Errorf("%d of %d bytes are a frame", cut, len(packed))
				}
			}
		}
	}
}

func equal(a, b [][]byte) bool {
	same := len(a) == len(b)
	for i := range min(len(a), len(b)) {
		same = same && bytes.Equal(a[i], b[i])
	}
	return same
}

func TestAHeaderThatIsTooLargeIsNotWaitedFor(t *testing.T) {
	for _, size := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0, 0, 0x20, 0}} {
		if _, _, err := frame.Read(bytes.NewReader(append(size, "{}"...))); err == nil || err == io.EOF {
			t.Errorf("% x: %v", size, err)
		}
	}
	if _, err := frame.Append(nil, map[string]string{"a": string(make([]byte, frame.MaxHeader))}, nil); err == nil {
		t.Error("a header of more than a MiB was packed")
	}
}

func FuzzWhateverComesIsAFrameOrNone(f *testing.F) {
	packed, _ := frame.Append(nil, map[string]any{"op": "x"}, [][]byte{{1, 2}})
	f.Add(packed)
	f.Add([]byte(`....{"parts":[1]}x`))
	f.Add([]byte{2, 0, 0, 0, '[', ']'})
	f.Fuzz(func(t *testing.T, given []byte) {
		header, parts, err := frame.Unpack(given)
		streamed, again, err2 := frame.Read(bytes.NewReader(given))
		if err != nil {
			return
		}
		if err2 != nil || !bytes.Equal(header, streamed) || !equal(parts, again) {
			t.Errorf("%q: %v", given, err2)
		}
	})
}
