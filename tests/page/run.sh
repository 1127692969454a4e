#!/bin/sh
# Installs what the page's tests need into .tools/page, and runs them all against the server that
# was built last (or the one that TIDINGS names).
# Arguments go to the browser's driver: --shots FOLDER, --serve 'COMMAND … {port}'.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=$here/../../.tools/page
mkdir -p "$tools"
if ! cmp -s "$here/package.json" "$tools/package.json" || [ ! -d "$tools/node_modules" ]; then
    cp "$here/package.json" "$tools/package.json"
    npm install --prefix "$tools" --no-audit --no-fund --no-package-lock --loglevel=error
fi
node "$here/check.mjs"
node --test --test-timeout=180000 "$here"/*.test.mjs
node "$here/browser.mjs" "$@"
node "$here/first_steps.mjs" "$@"
node "$here/fallback.mjs" "$@"
node "$here/deflate.mjs" "$@"
