package rows

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"dataflare.dev/sdk-go/internal/types"
)

func pointer(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	inner, err := codecOf(kind.Elem(), tag, above)
	if err != nil || inner.nullable {
		return codec{}, orElse(err, fmt.Errorf("%s is not the type of a column", kind))
	}
	elem := kind.Elem()
	return codec{
		kind:     inner.kind,
		nullable: true,
		read: func(s *Scanner, at unsafe.Pointer) {
			if s.Null() {
				*(*unsafe.Pointer)(at) = nil
				return
			}
			made := reflect.New(elem).UnsafePointer()
			inner.read(s, made)
			*(*unsafe.Pointer)(at) = made
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			if target := *(*unsafe.Pointer)(at); target != nil {
				return inner.write(dst, target, t)
			}
			return append(dst, "null"...)
		},
	}, nil
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// item reads a value inside of another one, where null may stand only for what can be nil.
func (c codec) item(s *Scanner, at unsafe.Pointer, where string) {
	if !c.nullable && s.Null() {
		if s.Void == "" {
			s.Void = where
		}
		return
	}
	c.read(s, at)
}

func list(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	elem := kind.Elem()
	inner, err := codecOf(elem, tag, above)
	if err != nil {
		return codec{}, err
	}
	size := elem.Size()
	return codec{
		kind:     types.ListOf(inner.kind),
		nullable: true,
		read: func(s *Scanner, at unsafe.Pointer) {
			target := reflect.NewAt(kind, at).Elem()
			if s.Null() {
				target.SetZero()
				return
			}
			target.Set(reflect.MakeSlice(kind, 0, 4))
			s.Items(func() {
				n := target.Len()
				target.Grow(1)
				target.SetLen(n + 1)
				slot := target.Index(n)
				slot.SetZero()
				inner.item(s, slot.Addr().UnsafePointer(), "an item")
			})
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			items := (*slice)(at)
			if items.data == nil {
				return append(dst, "null"...)
			}
			dst = append(dst, '[')
			for i := range items.len {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = inner.write(dst, unsafe.Add(items.data, uintptr(i)*size), &t.Columns[0].Type)
			}
			return append(dst, ']')
		},
	}, nil
}

// slice is how Go keeps one.
type slice struct {
	data unsafe.Pointer
	len  int
	cap  int
}

func array(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	elem := kind.Elem()
	inner, err := codecOf(elem, tag, above)
	if err != nil {
		return codec{}, err
	}
	told := types.ListOf(inner.kind)
	told.Kind, told.Width = types.FixedList, kind.Len()
	return codec{
		kind: told,
		read: func(s *Scanner, at unsafe.Pointer) {
			i := 0
			s.Items(func() {
				if i >= told.Width {
					s.Fail("there are more than %d items", told.Width)
					return
				}
				inner.item(s, unsafe.Add(at, uintptr(i)*elem.Size()), "an item")
				i++
			})
			if i != told.Width {
				s.Fail("there are %d items, not %d", i, told.Width)
			}
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			dst = append(dst, '[')
			for i := range told.Width {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = inner.write(dst, unsafe.Add(at, uintptr(i)*elem.Size()), &t.Columns[0].Type)
			}
			return append(dst, ']')
		},
	}, nil
}

func mapping(kind reflect.Type, tag reflect.StructTag, above []reflect.Type) (codec, error) {
	key, err := codecOf(kind.Key(), "", above)
	value, err2 := codecOf(kind.Elem(), tag, above)
	if err != nil || err2 != nil {
		return codec{}, orElse(err, err2)
	}
	return codec{
		kind:     types.MapOf(key.kind, value.kind),
		nullable: true,
		read: func(s *Scanner, at unsafe.Pointer) {
			target := reflect.NewAt(kind, at).Elem()
			if s.Null() {
				target.SetZero()
				return
			}
			target.Set(reflect.MakeMap(kind))
			s.Items(func() {
				k, v := reflect.New(kind.Key()), reflect.New(kind.Elem())
				s.Expect('[')
				key.item(s, k.UnsafePointer(), "a key")
				s.Expect(',')
				value.item(s, v.UnsafePointer(), "a value of a map")
				s.Expect(']')
				target.SetMapIndex(k.Elem(), v.Elem())
			})
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			target := reflect.NewAt(kind, at).Elem()
			if target.IsNil() {
				return append(dst, "null"...)
			}
			dst = append(dst, '[')
			k, v := reflect.New(kind.Key()), reflect.New(kind.Elem())
			for i, pair := range sortedKeys(target) {
				if i > 0 {
					dst = append(dst, ',')
				}
				k.Elem().Set(pair)
				v.Elem().Set(target.MapIndex(pair))
				dst = append(dst, '[')
				dst = key.write(dst, k.UnsafePointer(), &t.Columns[0].Type)
				dst = append(dst, ',')
				dst = value.write(dst, v.UnsafePointer(), &t.Columns[1].Type)
				dst = append(dst, ']')
			}
			return append(dst, ']')
		},
	}, nil
}

func structure(kind reflect.Type, above []reflect.Type) (codec, error) {
	plan, err := planOf(kind, above)
	if err != nil {
		return codec{}, err
	}
	if plan.Rest >= 0 {
		return codec{}, fmt.Errorf("%s keeps the rest of a row: only a row itself can", kind)
	}
	columns := make([]types.Column, len(plan.Fields))
	for i := range plan.Fields {
		columns[i] = plan.Fields[i].Column
	}
	return codec{
		kind: types.Type{Kind: types.Struct, Columns: columns},
		read: func(s *Scanner, at unsafe.Pointer) {
			s.Members(func(name string) {
				i, ok := plan.byName[name]
				if !ok {
					s.skip(0)
					return
				}
				plan.Fields[i].item(s, unsafe.Add(at, plan.Fields[i].Offset), name)
			})
		},
		write: func(dst []byte, at unsafe.Pointer, t *types.Type) []byte {
			dst = append(dst, '{')
			for i := range plan.Fields {
				dst = append(dst, plan.Fields[i].lead(i == 0)...)
				inner := &plan.Fields[i].Column.Type
				if i < len(t.Columns) {
					inner = &t.Columns[i].Type
				}
				dst = plan.Fields[i].write(dst, unsafe.Add(at, plan.Fields[i].Offset), inner)
			}
			return append(dst, '}')
		},
	}, nil
}

func sortedKeys(of reflect.Value) []reflect.Value {
	keys := of.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.CanInt():
			return cmp.Compare(a.Int(), b.Int())
		case a.CanUint():
			return cmp.Compare(a.Uint(), b.Uint())
		}
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return keys
}
