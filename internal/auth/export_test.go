package auth

import "net/http"

// Through has requests to the issuer carried by rt, so that a test needs no
// network and its time can be a bubble's.
func (o *Outside) Through(rt http.RoundTripper) { o.http.Transport = rt }
