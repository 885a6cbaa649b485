"""Requests made up from the OpenAPI description: none is answered with 5xx.

python checks/serve_schema.py [--examples 500]
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from serving import Serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=500, help="a place and method")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = Serve(folder, "--concurrency", 1)
        command = [Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/openapi.json"]
        options = ["--checks", "not_a_server_error", "--request-timeout", "120", "--max-examples", str(args.examples)]
        done = subprocess.run([*command, *options], cwd=folder)
        service.end(signal.SIGTERM)
    raise SystemExit(done.returncode or any(line["event"] == "bug" for line in service.log))


if __name__ == "__main__":
    main()
