package issuer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

const (
	anchorLife = 10 * 365 * 24 * time.Hour
	leafLife   = 2 * 365 * 24 * time.Hour
)

// keyring holds an organisation's keys: the anchor that verifiers trust, and
// the leaves that sign. There is one leaf today; rotation appends to it, and
// those before it stay published while their credentials live.
type keyring struct {
	anchor certified
	leaves []certified // oldest first
}

// certified is a key with its certificate.
type certified struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func (k *keyring) current() certified { return k.leaves[len(k.leaves)-1] }

// public gives the keys that verify credentials. The anchor signs none.
func (k *keyring) public() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, l := range k.leaves {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: &l.key.PublicKey, KeyID: l.id(), Algorithm: string(jose.ES256), Use: "sig",
		})
	}
	return set
}

// keyring gives the keys of an organisation, which are made at first use and
// are the same on every node. The anchor stays for good; the leaf names the
// issuer's URL, so another public URL has a leaf of its own.
func (s *Issuer) keyring(ctx context.Context, slug string) (*keyring, error) {
	s.ringsMu.Lock()
	ring := s.rings[slug]
	s.ringsMu.Unlock()
	if ring != nil {
		return ring, nil
	}
	anchor, err := s.certified(ctx, "issuer-ca/"+slug, func() (certified, error) {
		return newAnchor(slug, s.cfg.Now())
	})
	if err != nil {
		return nil, err
	}
	leaf, err := s.certified(ctx, "issuer-key/"+slug+"/"+s.cfg.PublicURL, func() (certified, error) {
		return newLeaf(anchor, slug, s.IssuerURL(slug), s.cfg.Now())
	})
	if err != nil {
		return nil, err
	}
	ring = &keyring{anchor: anchor, leaves: []certified{leaf}}
	s.ringsMu.Lock()
	defer s.ringsMu.Unlock()
	s.rings[slug] = ring
	return ring, nil
}

// certified gets or makes one key with its certificate.
func (s *Issuer) certified(ctx context.Context, name string, make func() (certified, error)) (certified, error) {
	text, err := s.store.Secret(ctx, name, func() ([]byte, error) {
		c, err := make()
		if err != nil {
			return nil, err
		}
		return c.pem()
	})
	if err != nil {
		return certified{}, fmt.Errorf("getting the key %s: %w", name, err)
	}
	c, err := readPEM(text)
	if err != nil {
		return certified{}, fmt.Errorf("reading the key %s: %w", name, err)
	}
	return c, nil
}

// newAnchor makes an organisation's own certification authority.
func newAnchor(slug string, now time.Time) (certified, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certified{}, err
	}
	from := validFrom(now)
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Credential issuer CA of " + slug},
		NotBefore:             from,
		NotAfter:              from.Add(anchorLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return certify(template, key, certified{key: key, cert: template})
}

// newLeaf makes the key that signs. Its certificate names the issuer's URL and
// host, by which verifiers tie the chain to iss (SD-JWT VC, section 3.5).
func newLeaf(anchor certified, slug, issuer string, now time.Time) (certified, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certified{}, err
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return certified{}, err
	}
	from := validFrom(now)
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Credential issuer " + slug},
		NotBefore:             from,
		NotAfter:              earlier(from.Add(leafLife), anchor.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{u},
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{u.Hostname()}
	}
	return certify(template, key, anchor)
}

func certify(template *x509.Certificate, key *ecdsa.PrivateKey, by certified) (certified, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return certified{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return certified{key: key, cert: cert}, err
}

// validFrom lies before the day of issuance, to which iat is rounded down.
func validFrom(now time.Time) time.Time { return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// serial is positive, random and of at most 20 bytes (RFC 5280, section 4.1.2.2).
func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// pem writes the certificate and its key (RFC 7468).
func (c certified) pem() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return append(c.certificatePEM(), key...), nil
}

func (c certified) certificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// readPEM never repeats what it read: it would be a key.
func readPEM(text []byte) (certified, error) {
	first, rest := pem.Decode(text)
	if first == nil {
		return certified{}, errors.New("no certificate in it")
	}
	second, rest := pem.Decode(rest)
	if second == nil || len(bytes.TrimSpace(rest)) > 0 {
		return certified{}, errors.New("not a certificate and its key")
	}
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return certified{}, errors.New("the certificate cannot be read")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(second.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return certified{}, errors.New("the key does not belong to the certificate")
	}
	return certified{key: key, cert: cert}, nil
}

// id is the key's thumbprint (RFC 7638).
func (c certified) id() string {
	sum, err := (&jose.JSONWebKey{Key: &c.key.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err) // a P-256 key has one
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// signSDJWT writes header, payload, signature and disclosures, with the closing
// tilde that says there is no key binding JWT (RFC 9901, section 4). The header
// holds the leaf but not the anchor, which a verifier must know by itself. It has
// no kid: wallets in the field (Yivi's) refuse a key that is named in two ways.
// Who verifies with the published keys finds there that of the leaf.
func (c certified) signSDJWT(payload map[string]any, disclosures []string) (string, error) {
	text, err := json.Marshal(payload, json.Deterministic(true))
	if err != nil {
		return "", errors.New("the payload of a credential cannot be written") // err could quote a claim
	}
	jwt, err := c.sign("dc+sd-jwt", text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(jwt)
	for _, d := range disclosures {
		b.WriteString("~" + d)
	}
	return b.String() + "~", nil
}

// sign writes a JWT of a type, with the certificate that verifies it.
func (c certified) sign(typ jose.ContentType, payload []byte) (string, error) {
	options := (&jose.SignerOptions{}).WithType(typ).
		WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(c.cert.Raw)})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: c.key}, options)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// anchor serves the certificate that verifiers of this organisation's
// credentials install as trusted.
func (s *Issuer) anchor(w http.ResponseWriter, hr *http.Request) {
	openToBrowsers(w.Header())
	r := &request{Request: hr, now: s.cfg.Now()}
	org, err := s.organisation(hr.Context(), hr.PathValue("organisation"))
	if err != nil {
		s.refused(w, r, err)
		return
	}
	r.org = org
	ring, err := s.keyring(hr.Context(), org.Slug)
	if err != nil {
		s.refused(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain") // RFC 8555, section 9.1
	w.Write(ring.anchor.certificatePEM())
}
