#!/bin/sh
# What the tests need besides Python: the report is rendered by a real browser, and tables are read
# from a real PostgreSQL server. Debian and Ubuntu have both as packages; what is there stays.
set -e
missing=""
command -v chromium > /dev/null || missing="$missing chromium"
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null ||
    missing="$missing postgresql"
[ -n "$missing" ] || exit 0
if ! command -v apt-get > /dev/null; then
    echo "the tests need$missing: install it and make it findable on PATH" >&2
    exit 1
fi
run=""
[ "$(id -u)" = 0 ] || run="sudo"
# The tests start a server of their own: Debian's package is not to make and start another.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $run mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | $run tee /etc/postgresql-common/createcluster.conf > /dev/null
fi
$run apt-get update --quiet=2
$run env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
    apt-get install --quiet=2 --yes --no-install-recommends $missing > /dev/null
