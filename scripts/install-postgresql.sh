#!/bin/sh
# Tests start PostgreSQL servers of their own, and PgBouncer before them. Where
# their programs are missing, root on Debian installs them, without a server that
# starts by itself; everybody else is told how.
set -eu

found() {
	[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || return 1
	command -v initdb >/dev/null && command -v postgres >/dev/null && return
	for initdb in /usr/lib/postgresql/*/bin/initdb; do
		[ -x "$initdb" ] && [ -x "${initdb%initdb}postgres" ] && return
	done
	return 1
}

if found; then
	echo "test: PostgreSQL and PgBouncer are installed"
	exit
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: the tests need the programs of PostgreSQL and PgBouncer. Please run:  sudo apt-get install -y --no-install-recommends postgresql pgbouncer" >&2
	exit 1
fi
echo "test: the tests need the programs of PostgreSQL and PgBouncer: installing postgresql and pgbouncer by apt-get"
# Debian's package makes and starts a first cluster unless told not to.
settings=/etc/postgresql-common/createcluster.d
own=$settings/tidings-no-cluster.conf
mkdir -p "$settings"
trap 'rm -f "$own"' EXIT
echo "create_main_cluster = false" >"$own"
# PgBouncer's starts by itself, but not in single-user mode.
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
apt-get install -y -qq --no-install-recommends postgresql pgbouncer >/dev/null
found
