#!/usr/bin/env bash
# Runs the tests of the stores that people keep on a Windows machine as Windows programs, under Wine: file and keychain,
# with what they are made of, or the packages that PACKAGES names. Arguments go to the test programs: -test.v, -test.run=…
# Installs Wine and a C compiler for Windows on a Debian machine, as root or through sudo. What it makes lies in a
# temporary folder and is deleted in the end.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null
}
wine=/usr/lib/wine/wine64 # where Debian keeps it, on no path
if [ ! -x $wine ] || ! command -v x86_64-w64-mingw32-gcc >/dev/null; then
	echo "installing wine64 gcc-mingw-w64-x86-64-win32"
	packages=(wine64 gcc-mingw-w64-x86-64-win32)
	apt install --yes --no-install-recommends "${packages[@]}" ||
		{ apt update && apt install --yes --no-install-recommends "${packages[@]}"; }
fi

folder=$(mktemp -d)
export WINEPREFIX=$folder/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" DISPLAY=
# The server of the prefix ends with its last program; -k sees to it.
trap '"$(dirname "$wine")/wineserver64" -k 2>/dev/null || true; rm -rf "$folder"' EXIT
$wine wineboot --init </dev/null >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }

# Debian's Wine lacks a library that every Go program asks for random numbers. It has one function.
cat >"$folder/bcryptprimitives.c" <<'C'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size)
{
	return RtlGenRandom(data, (ULONG)size);
}
C
x86_64-w64-mingw32-gcc -shared -O2 -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
	"$folder/bcryptprimitives.c" -ladvapi32

# It lacks too, and says so with another word than Windows, the way of deleting that os.RemoveAll tries first: every
# t.TempDir would fail at its end. The tests are built with an os.RemoveAll that takes the other way.
at=$(go env GOROOT)/src/internal/syscall/windows/at_windows.go
sed 's/^\tif TestDeleteatFallback {$/\tif true {/' "$at" >"$folder/at_windows.go"
! cmp -s "$at" "$folder/at_windows.go" || { echo "at_windows.go has changed: os.RemoveAll will fail under Wine"; exit 1; }
printf '{"Replace":{"%s":"%s"}}' "$at" "$folder/at_windows.go" >"$folder/overlay.json"

# run FOLDER PROGRAM ARGUMENTS… runs a test program where its package lies.
run() {
	(cd "$1" && shift && $wine "$@" -test.timeout=10m </dev/null) || failed=1
}

# What Windows does otherwise, or Wine: the names of D-Bus errors mean nothing there; and whoever reads a credential while
# it is deleted gets ERROR_KEY_DELETED of Wine's registry.
skip='^TestErrors$/^(no_service|service_does_not_start|no_answer|access_denied|locked)$|^TestCredentialManager$/^deadlines$'

failed=0
unset EVERGRANT_E2E
for package in ${PACKAGES:-internal/lockfile tokenstore/internal/durable tokenstore/seal tokenstore/file tokenstore/keychain}; do
	program=$folder/${package//\//-}.exe
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go test -c -overlay "$folder/overlay.json" -o "$program" "./$package" || { failed=1; continue; }
	echo "--- $package"
	run "$package" "$program" -test.skip="$skip" "$@"
	if [ "$package" = tokenstore/keychain ]; then # a process of its own: other tests put a mock in go-keyring's place
		echo "--- $package, on the Credential Manager"
		EVERGRANT_E2E=1 run "$package" "$program" -test.skip="$skip" -test.run='^TestCredentialManager' "$@"
	fi
done
exit $failed
