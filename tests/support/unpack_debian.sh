#!/bin/sh
# unpack_debian.sh DIRECTORY SUITE PACKAGE [--alone]: a package of another suite of Debian in DIRECTORY/root, with all
# its libraries unless --alone. Nothing is installed, and the lists of packages of this system stay as they are.
set -eu
cd "$1"
suite=$2 package=$3 alone=${4:-}
mkdir -p lists/partial cache/archives/partial debs root
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?} $suite main" > sources.list
apt() {
  program=$1
  shift
  "$program" -qq -o "Dir::Etc::sourcelist=$1/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o "Dir::State::lists=$1/lists" -o "Dir::Cache=$1/cache" "$2" $3
}
here=$PWD
apt apt-get "$here" update ""
names=$package
if [ "$alone" != --alone ]; then
  only="--recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances"
  names=$(apt apt-cache "$here" depends "$only $package" | grep -E '^[a-z0-9]' | grep -vE '^(perl|libperl)')
fi
cd debs
apt apt-get "$here" download "$names" 2> /dev/null
for file in *.deb; do dpkg -x "$file" ../root; done
