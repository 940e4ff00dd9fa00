#!/bin/sh
# The race detector needs a C compiler with its library. Where there is none,
# root on Debian installs one; everybody else is told how.
set -eu

works() {
	cc=$(go env CC)
	# CC may hold flags, so it is not quoted.
	echo '#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }' | ${cc:-cc} -x c -o /dev/null - 2>/dev/null
}

works && exit
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: the race detector needs a C compiler. Please run:  sudo apt-get install -y --no-install-recommends gcc libc6-dev" >&2
	exit 1
fi
echo "test: the race detector needs a C compiler: installing gcc and libc6-dev by apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
works
