"""A complete receiver of webhooks: it verifies them, keeps them in SQLite before
it answers, drops duplicates, and processes the rest."""

import base64
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/webhooks/credentials"
TOLERANCE = 5 * 60  # seconds
MAX_BODY = 64 * 1024  # bytes
RETENTION = 7 * 24 * 3600  # seconds; longer than a sender goes on trying
RETRY = 30  # seconds after work that failed


def verify(key, headers, body):
    """Gives the webhook-id; raises ValueError where the webhook is not genuine."""
    webhook_id, timestamp = headers.get("webhook-id"), headers.get("webhook-timestamp")
    signatures = headers.get("webhook-signature")
    if not webhook_id or not timestamp or not signatures:
        raise ValueError("a webhook header is missing")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        raise ValueError("webhook-timestamp is no number of seconds")
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise ValueError("webhook-timestamp is too far from now")
    content = f"{webhook_id}.{timestamp}.".encode() + body
    want = b"v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())
    # Several signatures while a secret is rotated, and perhaps of other schemes: one is enough.
    if not any(hmac.compare_digest(want, s.encode()) for s in signatures.split(" ")):
        raise ValueError("no signature matches")
    return webhook_id


class Inbox:
    """Keeps events in SQLite, and has them processed one after the other."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.lock = threading.Lock()  # one connection, several threads
        self.wake, self.stopping = threading.Event(), threading.Event()
        self.worker = threading.Thread(target=self.run, daemon=True)
        with self.lock, self.db:
            self.db.execute(
                """CREATE TABLE IF NOT EXISTS inbox (
                    seq INTEGER PRIMARY KEY, webhook_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL,
                    sample INTEGER NOT NULL, received_at REAL NOT NULL, processed_at REAL)"""
            )

    def put(self, webhook_id, body, sample):
        """Keeps an event, unless its id is there already. When it returns, the event is on disk."""
        with self.lock, self.db:
            self.db.execute(
                """INSERT INTO inbox (webhook_id, body, sample, received_at) VALUES (?, ?, ?, ?)
                ON CONFLICT (webhook_id) DO NOTHING""",
                (webhook_id, body, sample, time.time()),
            )
        self.wake.set()

    def run(self):
        """Processes what there is, that of earlier runs first, and waits for more, until it is stopped."""
        while True:
            self.wake.clear()
            if self.stopping.is_set():
                return
            with self.lock, self.db:
                self.db.execute("DELETE FROM inbox WHERE processed_at < ?", (time.time() - RETENTION,))
                rows = self.db.execute(
                    "SELECT seq, webhook_id, body, sample FROM inbox WHERE processed_at IS NULL ORDER BY seq LIMIT 100"
                ).fetchall()
            try:
                for seq, webhook_id, body, sample in rows:
                    if self.stopping.is_set():
                        return
                    process(webhook_id, json.loads(body), sample)
                    with self.lock, self.db:
                        self.db.execute("UPDATE inbox SET processed_at = ? WHERE seq = ?", (time.time(), seq))
            except Exception:  # the event is taken up again, those behind it wait
                traceback.print_exc()
                self.stopping.wait(RETRY)
                continue
            if not rows:
                self.wake.wait()

    def stop(self):
        """Waits for the work that is under way, so that it is not done again at the next start."""
        self.stopping.set()
        self.wake.set()
        if self.worker.is_alive():
            self.worker.join()


def process(webhook_id, event, sample):
    """Does the work. After an exception it is done again, so make it such that it can be
    repeated. Where sample is set, no issuance stands behind it, and nothing may be booked."""
    print("processed", webhook_id, event["eventType"], event["payload"].get("openId4VcIssuanceId"), flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Answers one request; the server has the key and the inbox."""

    timeout = 10  # seconds for a sender that trickles

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if self.path != PATH:
            return self.answer(404)
        if not (length.isascii() and length.isdigit()):
            return self.answer(411)
        if int(length) > MAX_BODY:
            return self.answer(413)
        body = self.rfile.read(int(length))  # the bytes as they came, before any parser
        try:
            webhook_id = verify(self.server.key, self.headers, body)
        except ValueError as error:
            return self.answer(400, str(error))
        try:
            self.server.inbox.put(webhook_id, body, self.headers.get("webhook-test") == "true")
        except sqlite3.Error:
            traceback.print_exc()
            return self.answer(503, "the event could not be stored: send it again")
        self.answer(204)  # to a duplicate, too

    def answer(self, status, text=""):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def main():
    secret = os.environ.get("WEBHOOK_SECRET", "")
    if not secret.startswith("whsec_"):
        sys.exit("set WEBHOOK_SECRET to the secret of the endpoint, whsec_…")
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Receiver)
    server.key, server.inbox = base64.b64decode(secret[len("whsec_"):]), Inbox(os.environ.get("INBOX", "inbox.db"))
    try:  # a signal must find nothing that would not be stopped
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(0))
        print(f"listening on http://127.0.0.1:{server.server_port}{PATH}", flush=True)
        server.inbox.worker.start()
        server.serve_forever()
    finally:
        server.inbox.stop()


if __name__ == "__main__":
    main()
