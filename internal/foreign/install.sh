#!/bin/sh
# Installs what the tests of this folder run: Node 20 or newer, and the npm
# packages of package-lock.json. It may be run any number of times and does
# nothing where all is there already.
#
# Node is, for this script and for the tests alike, the first of
#   $TIDINGS_NODE             where it is set
#   node_modules/.bin/node    which this script puts there where the machine's is too old
#   node                      in $PATH
set -eu
cd "$(dirname "$0")"

oldest=20       # of Node's major versions
npm_node=22.20.0 # npm's own package of Node, for machines whose Node is older
stamp=node_modules/.tidings-installed

say() { echo "foreign: $*"; }

# recent tells whether a program is a Node that is new enough.
recent() {
	version=$("$1" --version 2>/dev/null) || return 1
	major=${version#v}
	[ "${major%%.*}" -ge "$oldest" ] 2>/dev/null
}

# node_found names the Node that is used.
node_found() {
	for candidate in "${TIDINGS_NODE:-}" ./node_modules/.bin/node node; do
		if [ -n "$candidate" ] && recent "$candidate"; then
			echo "$candidate"
			return
		fi
	done
	return 1
}

# debian installs Node and npm from Debian's packages.
debian() {
	if [ "$(id -u)" -ne 0 ]; then
		say "Node $oldest and npm are needed. Please run:  sudo apt-get install -y --no-install-recommends nodejs npm  and then  $0" >&2
		exit 1
	fi
	if ! command -v apt-get >/dev/null; then
		say "Node $oldest and npm are needed, and this is not Debian: please install them by hand, then run $0" >&2
		exit 1
	fi
	say "installing Debian's nodejs and npm"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
}

if command -v flock >/dev/null; then # one at a time
	exec 9<install.sh
	flock 9
fi

wanted=$(cat package-lock.json .npmrc | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && node=$(node_found); then
	say "installed already; Node is $node"
	exit
fi

command -v npm >/dev/null && command -v node >/dev/null || debian
say "installing the packages of package-lock.json from npm"
npm ci --loglevel=error >/dev/null
if ! node=$(node_found); then
	case $(uname -m) in
	x86_64) processor=x64 ;;
	aarch64) processor=arm64 ;;
	*) processor=$(uname -m) ;;
	esac
	say "the machine's Node is older than $oldest: installing npm's own package of Node $npm_node"
	npm install --no-save --loglevel=error "node-linux-$processor@$npm_node" >/dev/null
	node=$(node_found) || { say "Node $npm_node from npm does not run here" >&2; exit 1; }
fi
echo "$wanted" >"$stamp"
say "installed; Node is $node"
