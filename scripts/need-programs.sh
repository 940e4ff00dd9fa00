#!/bin/sh
# The examples of the documentation are run by curl and by the sqlite3 shell, one
# of the example receivers by python3; strace lets the disk fail.
# Where one is missing, root on Debian installs it; everybody else is told how.
set -eu

missing=
for program in curl sqlite3 python3 strace; do
	command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: the tests need$missing. Please run:  sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
echo "test: the tests need$missing: installing by apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
for program in $missing; do
	command -v "$program" >/dev/null
done
