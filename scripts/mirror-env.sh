# Sourced by the Makefile: hands pip's mirror settings on to uv, which does not read pip's configuration.
# Nothing is set here that the machine has not set for pip; a variable of uv's own always wins.
# Usage: . scripts/mirror-env.sh PYTHON   (a python that has pip)

mirror_setting() {
    "$1" -m pip config get "global.$2" 2>/dev/null || true
}

if [ -z "${UV_DEFAULT_INDEX:-}" ] && [ -z "${UV_INDEX_URL:-}" ]; then
    index="${PIP_INDEX_URL:-$(mirror_setting "$1" index-url)}"
    if [ -n "$index" ]; then
        export UV_DEFAULT_INDEX="$index"
    fi
fi
if [ -z "${SSL_CERT_FILE:-}" ]; then
    cert="${PIP_CERT:-$(mirror_setting "$1" cert)}"
    if [ -n "$cert" ] && [ -f "$cert" ]; then
        export SSL_CERT_FILE="$cert"
    fi
fi
if [ -z "${UV_FIND_LINKS:-}" ] && [ -z "${NO_FIND_LINKS:-}" ]; then
    links="${PIP_FIND_LINKS:-$(mirror_setting "$1" find-links)}"
    if [ -n "$links" ]; then
        # pip separates several places by white space, uv by commas.
        UV_FIND_LINKS="$(echo $links | tr ' ' ',')"
        export UV_FIND_LINKS
    fi
fi
unset index cert links
