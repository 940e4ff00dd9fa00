// Package egress is the only HTTP client that calls strangers. It posts to
// URLs that somebody else chose, so it trusts neither the URL nor the answer:
//
//   - every address is judged after the name was resolved, on every dial, so
//     that no name can point it into a private network ([Guard]);
//   - certificates are always verified, redirects are never followed, and
//     nothing is taken from the environment;
//   - one deadline covers the name, the connection, TLS, the headers and the
//     body of the answer, of which 4 KiB are kept and 64 KiB read at most;
//   - what went wrong comes as one of a closed set of codes and a sentence that
//     a stranger may read ([Result]).
//
// A request is sent at most once, unless not a byte of it left this machine.
package egress
