#!/bin/sh
# Installs what is missing. Each argument is package=probe; a probe is a command's name, or
# file paths separated by commas of which one must exist.
missing=""
for item in "$@"; do
  package=${item%%=*}
  found=no
  for probe in $(printf '%s' "${item#*=}" | tr ',' ' '); do
    case $probe in
      /*) [ -e "$probe" ] && found=yes ;;
      *) command -v "$probe" >/dev/null 2>&1 && found=yes ;;
    esac
  done
  [ $found = yes ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "error: missing:$missing" >&2
  echo "    fix: install these (Debian's names) with your system's package manager" >&2
  exit 1
fi
run=""
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "error: missing:$missing" >&2
    echo "    fix: as root, apt-get install$missing" >&2
    exit 1
  fi
  run=sudo
fi
echo "installing:$missing"
# Only a failed install asks for fresh package lists: most machines have them.
install() {
  DEBIAN_FRONTEND=noninteractive $run apt-get install -y -q --no-install-recommends $missing
}
install >/dev/null 2>&1 && exit 0
$run apt-get update -q >/dev/null && install >/dev/null && exit 0
echo "error: could not install:$missing" >&2
echo "    fix: apt-get install$missing by hand and read what it says" >&2
exit 1
