package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tidings"
	"tidings/internal/issuer"
)

// signed gives a new credential with its header.
func (f *front) signed() (credential string, chain []*x509.Certificate) {
	f.Helper()
	held, err := f.wallet().Claim(f.Context(), f.OfferURI(f.offer()))
	f.must(err)
	return held.Credential, f.chain(held.Credential)
}

func (f *front) chain(credential string) (chain []*x509.Certificate) {
	f.Helper()
	var header struct {
		X5C [][]byte `json:"x5c"`
	}
	text, err := b64.DecodeString(strings.Split(credential, ".")[0])
	f.must(err)
	f.must(json.Unmarshal(text, &header))
	for _, der := range header.X5C {
		cert, err := x509.ParseCertificate(der)
		f.must(err)
		chain = append(chain, cert)
	}
	return chain
}

// published gives the keys of the issuer's metadata.
func (f *front) published() (keys []jose.JSONWebKey) {
	f.Helper()
	var doc struct{ JWKS jose.JSONWebKeySet }
	_, text := f.send("GET", "/.well-known/jwt-vc-issuer/o/acme", nil, "")
	f.must(json.Unmarshal([]byte(text), &doc))
	return doc.JWKS.Keys
}

// verifies tells whether a credential verifies by the published keys, and by
// its chain up to the anchors that are served.
func (f *front) verifies(credential string) (byKeys, byChain bool) {
	f.Helper()
	jws, err := jose.ParseSignedCompact(strings.Split(credential, "~")[0], []jose.SignatureAlgorithm{jose.ES256})
	f.must(err)
	for _, k := range f.published() {
		_, err := jws.Verify(k)
		byKeys = byKeys || err == nil
	}
	_, text := f.send("GET", "/o/acme/ca.pem", nil, "")
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(text))
	chain := f.chain(credential)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: f.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return byKeys, err == nil
}

// node is another process on the same store.
func (f *front) node() *issuer.Issuer {
	f.Helper()
	n, err := issuer.New(f.Context(), issuer.Config{PublicURL: f.server.URL, Now: f.clock.Now}, f.store)
	f.must(err)
	return n
}

// A rotation, by another process, is seen by a running server within seconds:
// it signs with the new key, and what the old one signed still verifies, here
// and on other nodes.
func TestRotateKey(t *testing.T) {
	f := open(t)
	old, oldChain := f.signed()
	if _, err := issuer.RotateKey(t.Context(), f.store, f.org, "", "operator", f.clock.Now()); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(3 * time.Second)
	fresh, freshChain := f.signed()
	if oldChain[0].Equal(freshChain[0]) || len(f.published()) != 2 {
		t.Errorf("after the rotation the old key signs; %d keys are published", len(f.published()))
	}
	for range 2 {
		for name, c := range map[string]string{"old": old, "new": fresh} {
			if byKeys, byChain := f.verifies(c); !byKeys || !byChain {
				t.Errorf("the %s credential verifies by keys: %v, by certificates: %v", name, byKeys, byChain)
			}
		}
		f.serve(f.node())
	}
	keys, err := issuer.ListKeys(t.Context(), f.store, f.org)
	f.must(err)
	if len(keys) != 2 || !keys[0].Signs || keys[1].Signs || keys[0].ID != f.published()[0].KeyID {
		t.Errorf("the keys are %+v", keys)
	}
	audit, err := f.store.Audit(t.Context(), f.org.Key, tidings.Page{})
	f.must(err)
	var said []string
	for _, a := range audit.Items {
		if strings.HasPrefix(a.Action, "key.") {
			said = append(said, a.Action+" by "+a.By)
		}
	}
	if got := strings.Join(said, ", "); got != "key.rotated by operator, key.made by tidings" {
		t.Errorf("the audit log says: %s", got)
	}
}

// The leaf is renewed by itself when half its life is over, once, whatever
// number of nodes see it; and when the CA ends too soon, there is another.
func TestKeysAreRenewed(t *testing.T) {
	f := open(t)
	_, chain := f.signed()
	second := f.node()
	names := map[string]bool{}
	for year := range 12 {
		f.clock.Advance(366 * 24 * time.Hour)
		credential, now := f.signed()
		names[now[0].Issuer.String()+string(now[0].AuthorityKeyId)] = true
		if now[0].Equal(chain[0]) || now[0].NotAfter.Before(f.clock.Now().Add(364*24*time.Hour)) {
			t.Fatalf("in year %d the leaf is valid until %v, and is %v", year, now[0].NotAfter, f.clock.Now())
		}
		chain = now
		f.serve(second)
		if byKeys, byChain := f.verifies(credential); !byKeys || !byChain {
			t.Errorf("in year %d another node verifies by keys: %v, by certificates: %v", year, byKeys, byChain)
		}
		if got := len(f.published()); got != year+2 {
			t.Fatalf("in year %d there are %d keys, want %d", year, got, year+2)
		}
	}
	if len(names) != 2 {
		t.Errorf("the leaves have %d CAs, want 2 in 12 years", len(names))
	}
}

// pki is a CA of the organisation's own, with one between it and the leaf.
type pki struct {
	root, between, leaf          []byte // PEM
	rootKey, betweenKey, leafKey []byte
}

func newPKI(t *testing.T, name string, now time.Time) (p pki) {
	t.Helper()
	parent, parentKey := (*x509.Certificate)(nil), (*ecdsa.PrivateKey)(nil)
	keys := []*[]byte{&p.rootKey, &p.betweenKey, &p.leafKey}
	for n, into := range []*[]byte{&p.root, &p.between, &p.leaf} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(n + 1)), Subject: pkix.Name{CommonName: []string{"Root", "Between", "Leaf"}[n]},
			NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(365 * 24 * time.Hour), BasicConstraintsValid: true, IsCA: n < 2}
		if n == 2 {
			c.URIs = []*url.URL{u}
		}
		if n == 0 {
			parent, parentKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		parentKey = key
		*into = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		sec1, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		*keys[n] = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	}
	return p
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// A certificate that was brought signs from now on, with its chain but for the
// anchor, and files that are no certificate with its key are refused.
func TestImportKey(t *testing.T) {
	f := open(t)
	old, _ := f.signed()
	now := f.clock.Now()
	p, other := newPKI(t, f.IssuerURL("acme"), now), newPKI(t, "https://other.example", now)
	for name, files := range map[string][2][]byte{
		"nothing":              {nil, nil},
		"no key":               {p.leaf, nil},
		"another key":          {p.leaf, other.leafKey},
		"self-signed":          {p.root, p.rootKey},
		"a CA's":               {p.between, p.betweenKey},
		"a chain with another": {join(p.leaf, other.between), p.leafKey},
		"text":                 {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), p.leafKey},
	} {
		_, err := issuer.ImportKey(t.Context(), f.store, f.org, files[0], files[1], "operator", now)
		if tidings.KindOf(err) != tidings.KindInvalid || err == nil || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(p.leafKey)[:20]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := issuer.ImportKey(t.Context(), f.store, f.org, p.leaf, p.leafKey, "operator", now.Add(2*366*24*time.Hour)); tidings.KindOf(err) != tidings.KindInvalid {
		t.Errorf("a certificate that has ended: %v", err)
	}
	info, err := issuer.ImportKey(t.Context(), f.store, f.org, join(p.leaf, p.between, p.root), p.leafKey, "operator", now)
	f.must(err)
	if !info.Imported || len(info.Names) != 1 || info.Names[0] != f.IssuerURL("acme") {
		t.Errorf("imported %+v", info)
	}
	f.clock.Advance(3 * time.Second)
	fresh, chain := f.signed()
	if len(chain) != 2 || chain[0].Subject.CommonName != "Leaf" || chain[1].Subject.CommonName != "Between" {
		t.Errorf("the chain is %v", chain)
	}
	for name, c := range map[string]string{"old": old, "new": fresh} {
		if byKeys, byChain := f.verifies(c); !byKeys || !byChain {
			t.Errorf("the %s credential verifies by keys: %v, by certificates: %v", name, byKeys, byChain)
		}
	}
	if other := f.organisation("other"); f.VCT("other", "x") != "" {
		keys, err := issuer.ListKeys(t.Context(), f.store, other)
		if err != nil || len(keys) != 0 {
			t.Errorf("another organisation has the keys %v, %v", keys, err)
		}
	}
}
