package tidings

import "strings"

// Advice says what to do about an attempt that failed, in words for the person
// who keeps the receiver; empty where it did not fail.
func (a Attempt) Advice() string {
	switch a.ErrorCode {
	case "":
		return ""
	case "dns":
		return "Check the host in the endpoint's URL for a typing mistake, and that its name has a public DNS record."
	case "connect":
		return "Nothing takes connections there. Is the receiver running, is the port right, and does its firewall let this server in?"
	case "tls":
		return "The receiver has to serve https at this port, with a certificate that is valid now, names the URL's host and comes with all intermediate certificates. Whoever runs this server can trust one of an authority of your own with --egress-ca."
	case "timeout":
		return "The receiver did not answer in time. Answer 2xx as soon as the event is stored, and do the work afterwards."
	case "blocked":
		return "Webhooks go to public addresses only. Whoever runs this server can allow a private network with --egress-allow; for your own machine, use tidings listen."
	case "closed":
		return "The receiver, or a proxy before it, closed the connection. Look into its log at that time: it may have crashed or restarted."
	case "protocol":
		return "What answered does not speak HTTP/1.1. Is it the right port, and is the proxy before the receiver set up for HTTP?"
	case "redirect":
		return "Redirects are not followed. Enter the URL to which it leads as the endpoint's."
	case "gone":
		return "410 says that nobody wants webhooks there any more, so the endpoint was disabled. Enable it if that was a mistake."
	case "rate_limited":
		return "The receiver asks for less at a time. Set a rate limit at the endpoint, or raise the receiver's."
	case "unavailable":
		return "The receiver says that it cannot work at the moment. The next attempt comes by itself; no sooner than it asked for."
	case "server_error":
		return "The receiver failed inside. Look into its log at that time. Often the body was parsed before the signature was verified, or the secret is not set."
	case "signature":
		return "This server could not sign the webhook. Rotate the endpoint's secret; if it stays so, tell whoever runs this server."
	case "rejected":
		return adviceRejected(a.StatusCode, string(a.ResponseExcerpt))
	}
	return "Look into the receiver's log at that time."
}

// adviceRejected goes by the status and, as receivers say more, by their words.
func adviceRejected(status int, said string) string {
	switch status {
	case 400, 401, 403, 422:
		if SaysTimestamp(said) {
			return "The receiver finds the webhook's time wrong. Check its clock, and let it verify before anything else: a webhook is refused five minutes after it was sent."
		}
	}
	switch status {
	case 400, 422:
		return "The receiver refuses the request. Often it compares the signature with a body that was parsed before: verify the bytes as they came in, then parse them. Is its secret that of this endpoint?"
	case 401, 403:
		return "The receiver refuses the sender. Is its secret that of this endpoint? Does it, or a proxy before it, want an Authorization header? One can be set at the endpoint."
	case 404:
		return "There is nothing at the URL's path. Check the path, and that the receiver's route takes POST."
	case 405:
		return "The path is there, but takes no POST. Check the receiver's route."
	case 413:
		return "The receiver takes no body of this size, although webhooks are far below 1 KiB. Check the limit of the proxy before it."
	case 415:
		return "The receiver does not take application/json."
	}
	return "The receiver refuses the request. Look into its log at that time; only an answer 2xx counts as received."
}

// SaysTimestamp tells whether what a receiver answered is that the time of a
// webhook is too old or too new for it. The libraries of Standard Webhooks name
// the timestamp.
func SaysTimestamp(answer string) bool {
	said := strings.ReplaceAll(strings.ToLower(answer), `"timestamp":`, "") // a member of many frameworks' errors
	return strings.Contains(said, "timestamp")
}
