// Package tidings holds the nouns of the product, their states and rules:
// [Organisation], [Client], [Endpoint], [Event], [Delivery], [Attempt],
// [Template], [Issuance]. It does no input or output and imports nothing else
// of ours; stores, servers and the delivery engine are built around it.
package tidings
