package dataflare_test

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/internal/frame"
	_ "dataflare.dev/sdk-go/internal/vectors"
)

// turn is a request of a conversation, the questions that it leads to, and its answer.
type turn struct {
	Request     json.RawMessage   `json:"request"`
	Parts       []json.RawMessage `json:"parts"`
	Host        []exchange        `json:"host"`
	Answer      json.RawMessage   `json:"answer"`
	AnswerParts []json.RawMessage `json:"answer_parts"`
}

type exchange struct {
	Question json.RawMessage `json:"question"`
	Answer   json.RawMessage `json:"answer"`
}

func read[T any](t testing.TB, name string) T {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "tests", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var told T
	if err := json.Unmarshal(content, &told); err != nil {
		t.Fatal(err)
	}
	return told
}

func TestEveryConversationGoesAsWritten(t *testing.T) {
	told := read[struct {
		Conversations []struct {
			Name  string `json:"name"`
			Turns []turn `json:"turns"`
		} `json:"conversations"`
	}](t, "guest.json")
	for _, conversation := range told.Conversations {
		t.Run(conversation.Name, func(t *testing.T) {
			var expected []exchange
			guest := dataflare.NewGuest(func(question []byte) ([]byte, error) {
				header, _, err := frame.Unpack(question)
				if err != nil || len(expected) == 0 {
					t.Fatalf("unexpected question %s (%v)", header, err)
				}
				if !reflect.DeepEqual(seen(t, header), words(t, expected[0].Question)) {
					t.Errorf("asked %s, not %s", header, expected[0].Question)
				}
				answer := expected[0].Answer
				expected = expected[1:]
				return frame.Append(nil, answer, nil)
			})
			defer guest.Close()
			for _, turn := range conversation.Turns {
				expected = turn.Host
				var parts [][]byte
				for _, part := range turn.Parts {
					parts = append(parts, partOf(t, part))
				}
				request, err := frame.Append(nil, turn.Request, parts)
				if err != nil {
					t.Fatal(err)
				}
				header, got, err := frame.Unpack(guest.Answer(request))
				if err != nil {
					t.Fatal(err)
				}
				if len(expected) > 0 {
					t.Errorf("%s: did not ask %s", turn.Request, expected[0].Question)
				}
				if !reflect.DeepEqual(seen(t, header), words(t, turn.Answer)) {
					t.Errorf("%s: answered %s, not %s", turn.Request, header, turn.Answer)
				}
				if len(got) != len(turn.AnswerParts) {
					t.Fatalf("%s: answered with %d parts, not %d", turn.Request, len(got), len(turn.AnswerParts))
				}
				for i, like := range turn.AnswerParts {
					if !samePart(t, got[i], like) {
						t.Errorf("%s: part %d is %s, not %s", turn.Request, i, got[i], like)
					}
				}
			}
		})
	}
}

// partLike is a part as the vectors have it.
type partLike struct {
	JSON json.RawMessage `json:"json"`
	Text *string         `json:"text"`
	U32  []uint32        `json:"u32"`
}

func like(t *testing.T, told json.RawMessage) partLike {
	var made partLike
	if err := json.Unmarshal(told, &made); err != nil {
		t.Fatal(err)
	}
	return made
}

func partOf(t *testing.T, told json.RawMessage) []byte {
	made := like(t, told)
	if made.Text != nil {
		return []byte(*made.Text)
	}
	return made.JSON
}

func samePart(t *testing.T, got []byte, told json.RawMessage) bool {
	switch wanted := like(t, told); {
	case wanted.Text != nil:
		return string(got) == *wanted.Text
	case wanted.U32 != nil:
		var numbers []byte
		for _, n := range wanted.U32 {
			numbers = binary.LittleEndian.AppendUint32(numbers, n)
		}
		return string(got) == string(numbers)
	default:
		return reflect.DeepEqual(words(t, got), words(t, wanted.JSON))
	}
}

func words(t *testing.T, text []byte) any {
	t.Helper()
	var told any
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return told
}

// seen is a header as the vectors have it: of an error code, kind and pointer, of a schema its columns.
func seen(t *testing.T, header []byte) any {
	told := words(t, header).(map[string]any)
	delete(told, "parts")
	delete(told, "problems")
	if failed, ok := told["error"].(map[string]any); ok {
		kept := map[string]any{}
		for _, word := range []string{"code", "kind", "pointer"} {
			if value, ok := failed[word]; ok && value != nil {
				kept[word] = value
			}
		}
		told["error"] = kept
	}
	if schemas, ok := told["schemas"].(map[string]any); ok {
		for name, schema := range schemas {
			schemas[name] = map[string]any{"columns": schema.(map[string]any)["columns"]}
		}
	}
	return told
}
