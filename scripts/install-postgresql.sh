#!/bin/sh
# Tests start PostgreSQL servers of their own. Where its programs are missing,
# root on Debian installs them, without a server that starts by itself;
# everybody else is told how.
set -eu

found() {
	command -v initdb >/dev/null && command -v postgres >/dev/null && return
	for initdb in /usr/lib/postgresql/*/bin/initdb; do
		[ -x "$initdb" ] && [ -x "${initdb%initdb}postgres" ] && return
	done
	return 1
}

if found; then
	echo "test: PostgreSQL is installed"
	exit
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: the tests need PostgreSQL's programs. Please run:  sudo apt-get install -y --no-install-recommends postgresql" >&2
	exit 1
fi
echo "test: the tests need PostgreSQL's programs: installing postgresql by apt-get"
# Debian's package makes and starts a first cluster unless told not to.
settings=/etc/postgresql-common/createcluster.d
own=$settings/tidings-no-cluster.conf
mkdir -p "$settings"
trap 'rm -f "$own"' EXIT
echo "create_main_cluster = false" >"$own"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
apt-get install -y -qq --no-install-recommends postgresql >/dev/null
found
