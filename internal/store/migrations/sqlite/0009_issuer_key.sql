-- issuer_key: what an organisation signs credentials with; the newest that
-- serves the public URL signs, all verify. number counts its changes, too.
CREATE TABLE issuer_key (
  organisation_id INTEGER NOT NULL REFERENCES organisation (id),
  number          INTEGER NOT NULL,
  public_url      TEXT NOT NULL,    -- which the certificate names; '': it was imported
  pem             BLOB NOT NULL,    -- certificates, the leaf first, and the private key
  created_at      INTEGER NOT NULL,
  PRIMARY KEY (organisation_id, number)
) WITHOUT ROWID;
INSERT INTO issuer_key (organisation_id, number, public_url, pem, created_at)
SELECT o.id, row_number() OVER (PARTITION BY o.id ORDER BY s.created_at, s.name), substr(s.name, length(o.slug) + 13), s.value, s.created_at
FROM secret s JOIN organisation o ON substr(s.name, 1, length(o.slug) + 12) = 'issuer-key/' || o.slug || '/';
DELETE FROM secret WHERE substr(name, 1, 11) = 'issuer-key/';
