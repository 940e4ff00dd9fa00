// Package foreign lets programs that nobody here wrote meet a whole server, over
// real TLS on loopback: so that the product is not only judged by itself.
//
//   - js/wallet.mjs claims credentials with the public OID4VCI library
//     @openid4vc/openid4vci and verifies them with @sd-jwt/sd-jwt-vc. Both check
//     every answer against strict schemas.
//   - js/credo.mjs claims them with Credo's holder, a wallet of its own that judges
//     credentials by the issuer's certificate authority.
//   - yivi/ claims them with Yivi's engine, a Go program that is a module of its own:
//     the many modules that it needs are none of the product's.
//   - mission/express.js is the receiver of the mission's document, as it stands
//     there; js/receiver.mjs only supplies its app.
//   - examples/credo is an issuer that is not ours, Credo's, which publishes its
//     events here.
//   - js/provider.mjs gives out access tokens with the public library oidc-provider.
//   - js/verifier.mjs verifies webhooks with the public library standardwebhooks.
//
// The package holds tests only. They start these programs, with Node but for
// yivi/, which they build first, and say over standard input what to do. install.sh installs Node, where it is missing, and
// the npm packages; the tests fail where it did not run. Node is the first of
// $TIDINGS_NODE, node_modules/.bin/node and node in $PATH that is new enough.
//
// package-lock.json names no addresses, so that any registry can serve the
// packages; their hashes are in it. After a change of package.json: npm install,
// then drop the members "funding" from the lock file, which are addresses too.
package foreign
