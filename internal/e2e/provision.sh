#!/usr/bin/env bash
# Installs what the end-to-end tests need on a Debian machine, as root or through sudo. What is there is left alone, and
# a machine that has everything is done in less than a second. Go fetches its modules by itself.
set -euo pipefail
cd "$(dirname "$0")"

# The program or the files that show that a package is installed, and the package.
wanted=(
	gcc:gcc # go test -race
	chromium:chromium
	dbus-daemon:dbus
	gnome-keyring-daemon:gnome-keyring
	secret-tool:libsecret-tools
	Xvfb:xvfb # a display with nobody at it
	node:nodejs
	npm:npm
	/usr/lib/python3/dist-packages/oauth2_provider/__init__.py:python3-django-oauth-toolkit
	/usr/share/rubygems-integration/all/specifications/doorkeeper-[0-9]*.gemspec:ruby-doorkeeper
	/usr/share/rubygems-integration/all/specifications/rails-[0-9]*.gemspec:ruby-rails
	/usr/share/rubygems-integration/*/specifications/sqlite3-[0-9]*.gemspec:ruby-sqlite3
	puma:puma
	glewlwyd:glewlwyd
	'/usr/lib/postgresql/*/bin/postgres:postgresql'
	redis-server:redis-server
	/usr/sbin/pgbouncer:pgbouncer
)
is_there() {
	case $1 in
	/*) compgen -G "$1" ;;
	*) command -v "$1" ;;
	esac >/dev/null
}
missing=()
for pair in "${wanted[@]}"; do
	is_there "${pair%%:*}" || missing+=("${pair#*:}")
done
# gcc without the C library's headers links nothing.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1
}
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
	# Debian's package would start a server; the tests start their own.
	as_root mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/no-server.conf >/dev/null
fi
if [ ${#missing[@]} -gt 0 ]; then
	echo "installing ${missing[*]}"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	# Lists that are missing or old are fetched; lists that serve are not.
	apt install --yes --no-install-recommends "${missing[@]}" ||
		{ apt update && apt install --yes --no-install-recommends "${missing[@]}"; } ||
		{ cat "$log"; exit 1; }
	for service in redis-server pgbouncer glewlwyd; do # the tests start their own
		if [[ " ${missing[*]} " == *" $service "* && -d /run/systemd/system ]]; then
			as_root systemctl --quiet disable --now "$service"
		fi
	done
fi

if ! node --eval 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
	echo "oidc-provider needs Node 20 or later; this is $(node --version): install a later one"
	exit 1
fi
if [ ! oidcprovider/node_modules/.package-lock.json -nt oidcprovider/package-lock.json ]; then
	echo "installing the npm packages of internal/e2e/oidcprovider"
	npm ci --prefix oidcprovider --omit=optional --ignore-scripts --silent </dev/null
fi
