# shellcheck shell=bash
# Debian packages without installing them: downloaded with a private apt state and unpacked into a folder.
# Touches neither the system nor its package database, so it works as any user.

# The machine's own Debian archive, so that a mirror chosen by its administrator is used.
debian_archive() {
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        sed -n 's/^URIs:[[:space:]]*//p' "$file" | tr ' ' '\n' | grep -m 1 -E '/debian/?$' && return
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed -nE 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' "$file" |
            grep -m 1 -E '/debian/?$' && return
    done
    return 1
}

# debian_unpack FOLDER SUITE STATUS PACKAGE…
#   SUITE   the release to take the packages from
#   STATUS  what counts as installed: /dev/null for a tree that stands alone, the system's own
#           status file for one that leans on what the machine already has
debian_unpack() {
    local folder=$1 suite=$2 status=$3 work archive deb
    shift 3
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    archive=$(debian_archive) || return 1
    work=$(mktemp -d "${TMPDIR:-/tmp}/igrs-lock-apt.XXXXXX") || return 1
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources" "$work/tree"
    cp "$status" "$work/status" 2>/dev/null || : >"$work/status"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$archive" "$suite" /usr/share/keyrings/debian-archive-keyring.gpg >"$work/sources/debian.sources"
    cat >"$work/apt.conf" <<CONF
Dir::State "$work";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/sources";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    if ! {
        APT_CONFIG=$work/apt.conf apt-get -qq update &&
            APT_CONFIG=$work/apt.conf apt-get -qq -y --download-only install "$@"
    } >"$work/log" 2>&1; then
        tail -n 5 "$work/log" >&2
        rm -rf "$work"
        return 1
    fi
    for deb in "$work"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$work/tree" || { rm -rf "$work"; return 1; }
    done
    mkdir -p "$(dirname "$folder")"
    rm -rf "$folder"
    # Moved into place last, so that an interrupted run leaves nothing that looks complete.
    mv "$work/tree" "$folder"
    rm -rf "$work"
}

# The folder with the C library in a tree made by debian_unpack, and its program loader.
debian_libraries() { dirname "$(find "$1/usr/lib" "$1/lib" -name 'libc.so.6' 2>/dev/null | head -n 1)"; }
debian_loader() { find "$(debian_libraries "$1")" -maxdepth 1 -name 'ld-linux*' | head -n 1; }

# debian_run TREE PROGRAM ARGUMENT…: run a program of such a tree with the tree's own libraries.
debian_run() {
    local tree=$1 program=$2
    shift 2
    "$(debian_loader "$tree")" --library-path "$(debian_libraries "$tree")" "$tree$program" "$@"
}

# debian_patch TREE PATCHELF PROGRAM…: make programs of such a tree start by themselves. RPATH and not
# RUNPATH, because only RPATH also holds for the libraries that libraries load.
debian_patch() {
    local tree=$1 patchelf=$2 program
    shift 2
    for program in "$@"; do
        "$patchelf" --set-interpreter "$(debian_loader "$tree")" \
            --force-rpath --set-rpath "$(debian_libraries "$tree")" "$tree$program" || return 1
    done
}
