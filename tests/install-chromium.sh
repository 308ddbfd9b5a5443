#!/bin/sh
# The report is rendered by a real browser in the tests. Debian and Ubuntu have one as a package.
set -e
if ! command -v apt-get > /dev/null; then
    echo "chromium is needed by the tests of the report: install it and make it findable on PATH" >&2
    exit 1
fi
run=""
[ "$(id -u)" = 0 ] || run="sudo"
$run apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive $run apt-get install --quiet=2 --yes --no-install-recommends chromium > /dev/null
