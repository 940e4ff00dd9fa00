package tidings

import "time"

// IssuerKey is a key with which an organisation signs credentials.
type IssuerKey struct {
	Number    int64     // counts the organisation's keys from 1
	PublicURL string    // base of the issuer's URL in the certificate; empty: it was imported
	PEM       []byte    // the certificates, the leaf first, and the private key: secret
	CreatedAt time.Time // milliseconds, UTC
}

// NewIssuerKey is a key to be added.
type NewIssuerKey struct {
	After     int64 // the number of the newest key that is known: it is added only where that is still so
	PublicURL string
	PEM       []byte
	// What the audit log says of it: "key.made", "key.renewed", "key.rotated" or
	// "key.imported", the key's thumbprint, and until when it is valid.
	Action, ID, Detail string
	By                 string
}
