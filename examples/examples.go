// Package examples holds complete receivers in several languages, for the
// documentation that the server shows.
package examples

import "embed"

// Files are their programs with what is said of them.
//
//go:embed README.md */README.md go/main.go node/*.mjs node/package.json python/*.py
var Files embed.FS
