#!/bin/sh
# The console's pages are tested in Chromium. Where there is none, root on
# Debian installs it; everybody else is told how.
set -eu

found() {
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

if found; then
	echo "test: Chromium is installed"
	exit
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: the tests need Chromium. Please run:  sudo apt-get install -y --no-install-recommends chromium" >&2
	exit 1
fi
echo "test: the tests need Chromium: installing chromium by apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
apt-get install -y -qq --no-install-recommends chromium >/dev/null
found
