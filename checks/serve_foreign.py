"""Pages of other sites get nothing: foreign names, foreign origins, browsers at /metrics, claims of a proxy.

python checks/serve_foreign.py
"""

import signal
import tempfile

import httpx
from measured import keep
from serving import Serve

EVIL = "evil.example"


def main():
    with tempfile.TemporaryDirectory() as folder:
        service = Serve(folder, "--rate", 2)
        host = service.url.removeprefix("http://")
        attacks = {
            "foreign name": ("GET", "/v1/models", {"Host": EVIL}),
            "foreign name posts a job": ("POST", "/v1/jobs?action=upscale", {"Host": f"{EVIL}:8000"}),
            "foreign name reads metrics": ("GET", "/metrics", {"Host": EVIL}),
            "foreign name gets the page": ("GET", "/", {"Host": f"127.0.0.1.{EVIL}"}),
            "foreign origin, no Sec-Fetch-Site": ("POST", "/v1/jobs?action=upscale", {"Origin": f"http://{EVIL}"}),
            "another port of this machine": ("POST", "/v1/jobs?action=upscale", {"Origin": "http://127.0.0.1:1"}),
            "opaque origin": ("POST", "/v1/jobs?action=upscale", {"Origin": "null"}),
            "Sec-Fetch-Site": ("POST", "/v1/jobs?action=upscale", {"Sec-Fetch-Site": "cross-site"}),
            "browser at metrics": ("GET", "/metrics", {"User-Agent": "Mozilla/5.0"}),
        }
        with httpx.Client(base_url=service.url, timeout=60) as http:
            answers = {name: http.request(*ask[:2], headers=ask[2]).status_code for name, ask in attacks.items()}
            own = http.post("/v1/jobs?action=upscale", headers={"Origin": f"http://{host}"}).status_code
            rate = [
                http.post("/v1/jobs?action=upscale", headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code
                for n in range(3)
            ]
        service.end(signal.SIGTERM)
    keep("serve_foreign", {"refused": answers, "own_page": own, "rate_under_other_addresses": rate})
    raise SystemExit(not set(answers.values()) <= {403, 421} or own != 202 or 429 not in rate)


if __name__ == "__main__":
    main()
