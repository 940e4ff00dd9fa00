// Package docs holds the documentation's text, for the site that the server
// shows of it.
package docs

import "embed"

// Files are the pages and, of the pictures, those that they show.
//
//go:embed *.md decisions/*.md
//go:embed images/cost-backlog-sqlite.svg images/cost-endpoints-sqlite.svg images/cost-fanout-sqlite.svg images/cost-history-sqlite.svg
//go:embed images/endpoint-failing-light.png images/issuance-completed-light.png images/overview-busy-light.png
var Files embed.FS
