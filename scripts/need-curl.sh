#!/bin/sh
# The examples of docs/api.md are run by curl. Where it is missing, root on
# Debian installs it; everybody else is told how.
set -eu

command -v curl >/dev/null && exit
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: the tests need curl. Please run:  sudo apt-get install -y --no-install-recommends curl" >&2
	exit 1
fi
echo "test: the tests need curl: installing it by apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends curl >/dev/null
command -v curl >/dev/null
