// Package deploy holds what operators give to other programs, for the
// documentation that the server shows.
package deploy

import "embed"

// Files are a dashboard for Grafana and alert rules for Prometheus.
//
//go:embed grafana/tidings.json prometheus/alerts.yml
var Files embed.FS
