// Package tidy checks how the project is built and written: which package may
// import which, the budgets for files, functions and interfaces, comments,
// names, links, and that generated code is what its sources say. It reads
// source text and knows nothing of what the project does.
//
// Each rule is a function from a tree to what is wrong in it. The rules run
// twice: over the project, where nothing may be found, and over testdata/tree,
// a small project that breaks each of them, where exactly
// testdata/violations.golden must be found.
package tidy
