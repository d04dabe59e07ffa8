package meta

// tree is a sorted set that never changes: insert and remove return another one,
// which shares all but one path with it. It is weight-balanced as in Adams,
// "Efficient sets: a balancing act" (1993), with the parameters that Hirai and
// Yamamoto proved right in "Balancing weight-balanced trees" (2011).
type tree[T any] struct {
	root    *node[T]
	compare func(a, b *T) int
}

type node[T any] struct {
	value       *T
	left, right *node[T]
	size        int
}

const (
	maxWeightRatio  = 3 // of two siblings
	singleRotations = 2 // ratio of the inner to the outer grandchild from which on one rotation is not enough
)

func (n *node[T]) count() int {
	if n == nil {
		return 0
	}
	return n.size
}

func (n *node[T]) weight() int { return n.count() + 1 }

func join[T any](left *node[T], value *T, right *node[T]) *node[T] {
	return &node[T]{value: value, left: left, right: right, size: left.count() + right.count() + 1}
}

// balanced joins two trees of which one has at most one value more or less than it
// had when they were in balance.
func balanced[T any](left *node[T], value *T, right *node[T]) *node[T] {
	switch {
	case right.weight() > maxWeightRatio*left.weight():
		if r := right; r.left.weight() < singleRotations*r.right.weight() {
			return join(join(left, value, r.left), r.value, r.right)
		}
		r, m := right, right.left
		return join(join(left, value, m.left), m.value, join(m.right, r.value, r.right))
	case left.weight() > maxWeightRatio*right.weight():
		if l := left; l.right.weight() < singleRotations*l.left.weight() {
			return join(l.left, l.value, join(l.right, value, right))
		}
		l, m := left, left.right
		return join(join(l.left, l.value, m.left), m.value, join(m.right, value, right))
	}
	return join(left, value, right)
}

// insert adds a value, in the place of an equal one.
func (t tree[T]) insert(value *T) tree[T] {
	return tree[T]{root: t.inserted(t.root, value), compare: t.compare}
}

func (t tree[T]) inserted(n *node[T], value *T) *node[T] {
	if n == nil {
		return join(nil, value, nil)
	}
	switch c := t.compare(value, n.value); {
	case c < 0:
		return balanced(t.inserted(n.left, value), n.value, n.right)
	case c > 0:
		return balanced(n.left, n.value, t.inserted(n.right, value))
	}
	return join(n.left, value, n.right)
}

// remove takes out the value that is equal to this one, if there is one.
func (t tree[T]) remove(value *T) tree[T] {
	if t.find(value) == nil {
		return t
	}
	return tree[T]{root: t.removed(t.root, value), compare: t.compare}
}

func (t tree[T]) removed(n *node[T], value *T) *node[T] {
	switch c := t.compare(value, n.value); {
	case c < 0:
		return balanced(t.removed(n.left, value), n.value, n.right)
	case c > 0:
		return balanced(n.left, n.value, t.removed(n.right, value))
	case n.left == nil:
		return n.right
	case n.right == nil:
		return n.left
	}
	if n.left.size > n.right.size {
		last, rest := withoutLast(n.left)
		return balanced(rest, last, n.right)
	}
	first, rest := withoutFirst(n.right)
	return balanced(n.left, first, rest)
}

func withoutFirst[T any](n *node[T]) (first *T, rest *node[T]) {
	if n.left == nil {
		return n.value, n.right
	}
	first, rest = withoutFirst(n.left)
	return first, balanced(rest, n.value, n.right)
}

func withoutLast[T any](n *node[T]) (last *T, rest *node[T]) {
	if n.right == nil {
		return n.value, n.left
	}
	last, rest = withoutLast(n.right)
	return last, balanced(n.left, n.value, rest)
}

// find returns the value that is equal to this one, or nil.
func (t tree[T]) find(value *T) *T {
	if found := t.floor(value); found != nil && t.compare(found, value) == 0 {
		return found
	}
	return nil
}

// floor returns the greatest value that is not above this one, or nil.
func (t tree[T]) floor(value *T) (found *T) {
	for n := t.root; n != nil; {
		if t.compare(n.value, value) <= 0 {
			found, n = n.value, n.right
		} else {
			n = n.left
		}
	}
	return found
}

// ceiling returns the least value that is not below this one, or nil.
func (t tree[T]) ceiling(value *T) (found *T) {
	for n := t.root; n != nil; {
		if t.compare(n.value, value) >= 0 {
			found, n = n.value, n.left
		} else {
			n = n.right
		}
	}
	return found
}

// from calls fn with the values that are not below this one, in order, until fn
// returns false. A nil is below all.
func (t tree[T]) from(value *T, fn func(*T) bool) { t.walk(t.root, value, fn) }

func (t tree[T]) walk(n *node[T], value *T, fn func(*T) bool) bool {
	if n == nil {
		return true
	}
	if value != nil && t.compare(n.value, value) < 0 {
		return t.walk(n.right, value, fn)
	}
	return t.walk(n.left, value, fn) && fn(n.value) && t.walk(n.right, nil, fn)
}

// first is the least value, or nil.
func (t tree[T]) first() (found *T) {
	for n := t.root; n != nil; n = n.left {
		found = n.value
	}
	return found
}

func (t tree[T]) count() int { return t.root.count() }

// treeOf makes the tree of values that are in order and of which no two are equal.
func treeOf[T any](compare func(a, b *T) int, values []*T) tree[T] {
	return tree[T]{root: halved(values), compare: compare}
}

func halved[T any](values []*T) *node[T] {
	if len(values) == 0 {
		return nil
	}
	middle := len(values) / 2
	return join(halved(values[:middle]), values[middle], halved(values[middle+1:]))
}
