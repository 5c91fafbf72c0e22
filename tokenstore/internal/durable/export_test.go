package durable

// MustBeAbsent is what Write asks of a path before it puts a new file there.
var MustBeAbsent = mustBeAbsent
