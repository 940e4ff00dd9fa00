#!/bin/sh
# Runs every fuzz target for a short time, one after the other.
#   scripts/fuzz.sh 20s
set -eu
for_each=${1:-20s}
count=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "fuzz: $package $target for $for_each"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$for_each" -timeout 10m "$package"
		count=$((count + 1))
	done
done
echo "fuzz: $count targets, nothing found"
[ "$count" -gt 0 ]
