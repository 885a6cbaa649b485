"""Requests made up from the OpenAPI description: none is answered with 5xx.

python checks/serve_schema.py [--examples 500]
"""

import argparse
import collections
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from measured import keep
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
    statuses = collections.Counter(line["status"] for line in service.log if line["event"] == "request")
    bugs = sum(line["event"] == "bug" for line in service.log)
    answers = {str(status): count for status, count in sorted(statuses.items())}
    keep("serve_schema", {"requests": sum(statuses.values()), "answers": answers, "bugs_logged": bugs})
    raise SystemExit(done.returncode or bugs)


if __name__ == "__main__":
    main()
