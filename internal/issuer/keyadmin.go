package issuer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tidings"
)

// KeyInfo is what may be known of a key.
type KeyInfo struct {
	ID        string // the key's thumbprint (RFC 7638), which is its kid in the key set
	Names     []string
	Imported  bool
	Signs     bool // new credentials, at the public URL that was used last
	CreatedAt time.Time
	NotAfter  time.Time // the end of its certificate
}

// ListKeys gives an organisation's keys, the newest first.
func ListKeys(ctx context.Context, store Keys, org tidings.Organisation) (out []KeyInfo, err error) {
	keys, err := store.IssuerKeys(ctx, org.Key)
	if err != nil {
		return nil, err
	}
	for n := len(keys) - 1; n >= 0; n-- {
		c, err := readPEM(keys[n].PEM)
		if err != nil {
			return nil, fmt.Errorf("reading key %d of %s: %w", keys[n].Number, org.Slug, err)
		}
		info := describeKey(c, keys[n].PublicURL == "")
		info.CreatedAt, info.Signs = keys[n].CreatedAt, n == len(keys)-1
		out = append(out, info)
	}
	return out, nil
}

func describeKey(c certified, imported bool) KeyInfo {
	info := KeyInfo{ID: c.id(), Imported: imported, NotAfter: c.cert.NotAfter.UTC(), Names: c.cert.DNSNames}
	for _, u := range c.cert.URIs {
		info.Names = append(info.Names, u.String())
	}
	for _, ip := range c.cert.IPAddresses {
		info.Names = append(info.Names, ip.String())
	}
	return info
}

// RotateKey gives an organisation a new key, which running servers use within
// seconds. Those before stay published. publicURL is the base of the issuer's
// URL; empty: that of the key that was made last.
func RotateKey(ctx context.Context, store Keys, org tidings.Organisation, publicURL, by string, now time.Time) (KeyInfo, error) {
	return adding(ctx, store, org, func(keys []tidings.IssuerKey, after int64) (certified, bool, error) {
		url := publicURL
		for _, k := range keys {
			if publicURL == "" && k.PublicURL != "" {
				url = k.PublicURL
			}
		}
		if url == "" {
			return certified{}, false, tidings.Invalid("/publicUrl", "No key of %s was made here so far, so the public URL that its certificate has to name is not known: give --public-url.", org.Slug)
		}
		return mint(ctx, store, org, url, after, "key.rotated", by, now)
	})
}

// ImportKey has an organisation sign with a key of its own from now on: PEM
// files with the certificate, those above it, and the key.
func ImportKey(ctx context.Context, store Keys, org tidings.Organisation, certificates, key []byte, by string, now time.Time) (KeyInfo, error) {
	c, err := readPEM(append(append(append([]byte(nil), certificates...), '\n'), key...))
	switch {
	case err != nil:
		return KeyInfo{}, tidings.Invalid("", "The files do not hold a certificate and its key: %v.", err)
	case selfSigned(c.cert):
		return KeyInfo{}, tidings.Invalid("", "The certificate is signed by itself: verifiers want one that a CA has signed (the first in the file), and trust the CA.")
	case now.Before(c.cert.NotBefore) || now.After(c.cert.NotAfter):
		return KeyInfo{}, tidings.Invalid("", "The certificate is valid from %s to %s, not now.", c.cert.NotBefore.UTC().Format(time.RFC3339), c.cert.NotAfter.UTC().Format(time.RFC3339))
	case c.cert.IsCA:
		return KeyInfo{}, tidings.Invalid("", "The first certificate is a CA's; the one of the key that signs credentials stands first.")
	}
	above := slices.Clone(c.chain)
	if c.root != nil {
		above = append(above, c.root)
	}
	for below := c.cert; len(above) > 0; below, above = above[0], above[1:] {
		if below.CheckSignatureFrom(above[0]) != nil {
			return KeyInfo{}, tidings.Invalid("", "The certificates are no chain: each must be signed by the one that follows it.")
		}
	}
	info, err := adding(ctx, store, org, func(_ []tidings.IssuerKey, after int64) (certified, bool, error) {
		added, err := addKey(ctx, store, org, c, tidings.NewIssuerKey{After: after, Action: "key.imported", By: by})
		return c, added, err
	})
	info.Imported = true
	return info, err
}

// adding adds a key behind the newest, however many others are added meanwhile.
func adding(ctx context.Context, store Keys, org tidings.Organisation, add func(keys []tidings.IssuerKey, after int64) (certified, bool, error)) (KeyInfo, error) {
	for range 10 {
		keys, err := store.IssuerKeys(ctx, org.Key)
		if err != nil {
			return KeyInfo{}, err
		}
		after := int64(0)
		if len(keys) > 0 {
			after = keys[len(keys)-1].Number
		}
		c, added, err := add(keys, after)
		if err != nil {
			return KeyInfo{}, err
		}
		if added {
			info := describeKey(c, false)
			info.Signs = true
			return info, nil
		}
	}
	return KeyInfo{}, tidings.Unavailable(time.Second, nil, "Other processes keep adding keys; try again.")
}
