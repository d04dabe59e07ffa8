package wirepb

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The answers that carry pages go the short way of Codec, too: a page is sent from
// where the engine left it, and what is received is copied once.

func marshalPage(m *PageResponse) (mem.BufferSlice, error) {
	g := gatherer{run: make([]byte, 0, pageHeadBytes)}
	if err := g.served(m.Served); err != nil {
		return nil, err
	}
	if len(m.Page) > 0 {
		g.payloads(2, [][]byte{m.Page})
	}
	g.number(3, m.PageLsn)
	return g.done(), nil
}

// pageHeadBytes is about what is written for one page beside the page.
const pageHeadBytes = 64

func marshalPages(m *PagesResponse) (mem.BufferSlice, error) {
	g := gatherer{run: make([]byte, 0, pageHeadBytes*(1+len(m.Pages)))}
	if err := g.served(m.Served); err != nil {
		return nil, err
	}
	for _, p := range m.Pages {
		size := 0
		if p.GetFound() {
			size += protowire.SizeTag(1) + 1
		}
		if len(p.GetPage()) > 0 {
			size += protowire.SizeTag(2) + protowire.SizeBytes(len(p.Page))
		}
		if p.GetPageLsn() != 0 {
			size += protowire.SizeTag(3) + protowire.SizeVarint(p.PageLsn)
		}
		g.run = protowire.AppendVarint(protowire.AppendTag(g.run, 2, protowire.BytesType), uint64(size))
		if p.GetFound() {
			g.number(1, 1)
		}
		if len(p.GetPage()) > 0 {
			g.payloads(2, [][]byte{p.Page})
		}
		g.number(3, p.GetPageLsn())
	}
	return g.done(), nil
}

// served writes field 1 of an answer.
func (g *gatherer) served(s *Served) error {
	if s == nil {
		return nil
	}
	g.run = protowire.AppendVarint(protowire.AppendTag(g.run, 1, protowire.BytesType), uint64(proto.Size(s)))
	var err error
	g.run, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(g.run, s)
	return err
}

// Fields of an Answer that carry pages.
const pageField, pagesField = 2, 3

func marshalAnswer(m *Answer) (mem.BufferSlice, error) {
	switch of := m.Of.(type) {
	case *Answer_Page:
		page, err := marshalPage(of.Page)
		return within(pageField, page), err
	case *Answer_Pages:
		pages, err := marshalPages(of.Pages)
		return within(pagesField, pages), err
	}
	return encoding.GetCodecV2("proto").Marshal(m)
}

// within makes an encoded message a field of another one.
func within(field protowire.Number, message mem.BufferSlice) mem.BufferSlice {
	head := protowire.AppendTag(make([]byte, 0, 16), field, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(message.Len()))
	return append(mem.BufferSlice{mem.SliceBuffer(head)}, message...)
}

// known reads what Codec leaves to generated code: without what is unknown, as fields
// does.
var known = proto.UnmarshalOptions{DiscardUnknown: true}

// unmarshalAnswer reads an Answer with one field. What else protobuf allows, such as
// one that comes in parts, no node sends.
func unmarshalAnswer(data []byte, m *Answer) error {
	field, kind, n := protowire.ConsumeTag(data)
	if n < 0 || kind != protowire.BytesType || field != pageField && field != pagesField {
		return known.Unmarshal(data, m)
	}
	body, size := protowire.ConsumeBytes(data[n:])
	if size < 0 || n+size < len(data) {
		return known.Unmarshal(data, m)
	}
	if field == pageField {
		page := &PageResponse{}
		m.Of = &Answer_Page{Page: page}
		return unmarshalPage(body, page)
	}
	pages := &PagesResponse{}
	m.Of = &Answer_Pages{Pages: pages}
	return unmarshalPages(body, pages)
}

func unmarshalPage(data []byte, m *PageResponse) error {
	var served []byte
	f := fields{numbers: []number{{3, &m.PageLsn}}, payload: func(n protowire.Number, b []byte) {
		switch n {
		case 1:
			served = b
		case 2:
			m.Page = b
		}
	}}
	if err := f.read(data); err != nil || served == nil {
		return err
	}
	m.Served = &Served{}
	return known.Unmarshal(served, m.Served)
}

func unmarshalPages(data []byte, m *PagesResponse) error {
	var served []byte
	var broken error
	f := fields{payload: func(n protowire.Number, b []byte) {
		switch n {
		case 1:
			served = b
		case 2:
			page, err := readPageOf(b)
			if m.Pages = append(m.Pages, page); err != nil {
				broken = err
			}
		}
	}}
	if err := f.read(data); err != nil || broken != nil || served == nil {
		if err == nil {
			err = broken
		}
		return err
	}
	m.Served = &Served{}
	return known.Unmarshal(served, m.Served)
}

func readPageOf(data []byte) (*PageOf, error) {
	page, found := &PageOf{}, uint64(0)
	f := fields{numbers: []number{{1, &found}, {3, &page.PageLsn}}, payload: func(n protowire.Number, b []byte) {
		if n == 2 {
			page.Page = b
		}
	}}
	err := f.read(data)
	page.Found = found != 0
	return page, err
}
