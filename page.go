package tidings

// Page asks for a part of a list. A cursor is the id of the boundary item
// and is not part of the answer itself.
type Page struct {
	Size   int    // 1 to MaxPageSize; 0 means DefaultPageSize
	After  string // items that follow this one, in the list's order
	Before string // items that precede this one
}

// Limits of [Page.Size].
const (
	DefaultPageSize = 100
	MaxPageSize     = 100
)

// Limit gives the size to use.
func (p Page) Limit() int {
	if p.Size <= 0 {
		return DefaultPageSize
	}
	return min(p.Size, MaxPageSize)
}

// List is one page of items, with whether more stand on either side of it.
type List[T any] struct {
	Items   []T
	HasNext bool
	HasPrev bool
}
