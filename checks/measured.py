"""What the checks found, kept in checks/results.json, from which docs/generate_figures.py writes the tables."""

import json
import os
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


def keep(check: str, found: dict[str, object]) -> None:
    """Prints what a check found, and keeps it in place of what it found before."""
    print(json.dumps(found, indent=1))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    about = {"cores": os.cpu_count(), "load": round(os.getloadavg()[1], 1)}
    results[check] = {**found, "machine": about}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
