package auth

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/go-jose/go-jose/v4"
)

// thumbprint names a key by its content (RFC 7638).
func thumbprint(key jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func marshalKeySet(keys ...jose.JSONWebKey) ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: keys})
}

// Certs answers GET [CertsPath] with the key set (RFC 7517, section 5) that
// verifies our tokens.
func (s *Service) Certs(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		writeOAuthError(w, http.StatusMethodNotAllowed, "invalid_request", "The key set is read with GET.")
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Length", strconv.Itoa(len(s.jwks)))
	w.Write(s.jwks)
}
