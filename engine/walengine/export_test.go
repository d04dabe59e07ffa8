package walengine

// Plain lets a store write each frame as it comes, as it does for more groups than
// it gathers for, so that a test has every write by itself.
func Plain(o Options) Options {
	o.plain = true
	return o
}
