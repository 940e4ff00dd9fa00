package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
)

//go:embed assets
var assetFiles embed.FS

// assetTypes are the files that there are.
var assetTypes = map[string]string{
	"console.css": "text/css; charset=utf-8",
	"console.js":  "text/javascript; charset=utf-8",
	"icon.svg":    "image/svg+xml",
}

// assetHashes name the versions of the files, so that browsers may keep them.
var assetHashes = func() map[string]string {
	out := map[string]string{}
	for name := range assetTypes {
		text, err := assetFiles.ReadFile(path.Join("assets", name))
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(text)
		out[name] = hex.EncodeToString(sum[:6])
	}
	return out
}()

// assetPath gives the address of a file.
func assetPath(name string) string { return Prefix + "/assets/" + name + "?v=" + assetHashes[name] }

// asset serves a file to everybody.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	text, err := assetFiles.ReadFile(path.Join("assets", name))
	if assetTypes[name] == "" || err != nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", assetTypes[name])
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == assetHashes[name] {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Write(text)
}
