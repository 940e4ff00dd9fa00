package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
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

// certified is a key with its certificate.
type certified struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	chain []*x509.Certificate // from the one that certified cert up to, not including, the anchor
	root  *x509.Certificate   // the anchor where the file had it; nil for keys made here
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

// pem writes the certificates and the key (RFC 7468).
func (c certified) pem() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, err
	}
	out := certificatePEM(c.cert)
	for _, cert := range c.chain {
		out = append(out, certificatePEM(cert)...)
	}
	if c.root != nil {
		out = append(out, certificatePEM(c.root)...)
	}
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// readPEM reads a leaf, the certificates above it, and the key, in any order
// but that of the certificates. It never repeats what it read: it would be a
// key.
func readPEM(text []byte) (c certified, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			switch {
			case err != nil:
				return c, errors.New("a certificate cannot be read")
			case c.cert == nil:
				c.cert = cert
			case selfSigned(cert):
				c.root = cert
			default:
				c.chain = append(c.chain, cert)
			}
		case "PRIVATE KEY", "EC PRIVATE KEY":
			if c.key != nil {
				return c, errors.New("there is more than one private key")
			}
			if c.key = parseKey(block.Bytes); c.key == nil {
				return c, errors.New("the private key is not an ECDSA key on P-256")
			}
		case "EC PARAMETERS": // OpenSSL writes them before the key, which names its curve itself
		default:
			return c, errors.New("there is something else than certificates and a private key")
		}
	}
	switch {
	case c.cert == nil:
		return c, errors.New("there is no certificate")
	case c.key == nil:
		return c, errors.New("there is no private key")
	case !c.key.PublicKey.Equal(c.cert.PublicKey):
		return c, errors.New("the key does not belong to the first certificate")
	}
	return c, nil
}

func parseKey(der []byte) *ecdsa.PrivateKey {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil {
		key, err = x509.ParseECPrivateKey(der)
		ok = err == nil
	}
	if !ok || key.Curve != elliptic.P256() {
		return nil
	}
	return key
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
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

// x5c is the chain below the anchor, the leaf first (RFC 7515, section 4.1.6).
func (c certified) x5c() []string {
	out := []string{base64.StdEncoding.EncodeToString(c.cert.Raw)}
	for _, cert := range c.chain {
		out = append(out, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	return out
}

// sign writes a JWT of a type, with the certificate that verifies it.
func (c certified) sign(typ jose.ContentType, payload []byte) (string, error) {
	options := (&jose.SignerOptions{}).WithType(typ).
		WithHeader("x5c", c.x5c())
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
