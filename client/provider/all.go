package provider

import "slices"

// all are looked through in this order.
var all = []*Provider{
	GitHub,
	Google,
	Slack,
}

// All returns the profiles of this package.
func All() []*Provider { return slices.Clone(all) }
