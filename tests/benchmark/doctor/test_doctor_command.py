"""`omnibench doctor`: all is told, no secret, and the exit code is that of the gravest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from omnibench.doctor import findings

PROGRAM = """
import sys
from omnibench.cli import main
sys.argv = ["omnibench", "doctor", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print("HEAVY", sorted({"torch", "numpy", "pandas", "nltk"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_the_command_tells_all_without_secrets_and_without_importing_torch(tmp_path: Path) -> None:
    secret = "hf_thisisnobodystokenatall"
    environment = os.environ | {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_CACHE_HOME": str(tmp_path / "xdg"),
        "HF_TOKEN": secret,
        "HTTPS_PROXY": f"http://user:{secret}@127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HEAVY []" in done.stderr, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert done.returncode == (5 if any(f["verdict"] == "FAIL" for f in told) else 0)
    topics = {finding["topic"] for finding in told}
    assert topics >= {
        "python", "packages", "torch", "device cpu", "memory", "results", "cache", "data root",
        "datasets", "weights", "licence", "token", "hub", "plugins", "WordNet", "extra cnn",
        "extra dicom", "extra parquet", "extra ray", "extra slurm",
    }  # fmt: skip
    assert all(bool(f["remedy"]) == (f["verdict"] != "PASS") for f in told)
    token = next(f for f in told if f["topic"] == "token")
    assert token["told"].endswith("from HF_TOKEN")
    assert secret not in done.stdout + done.stderr
    assert not (tmp_path / "results").exists(), "looking makes no folders"


def test_the_exit_code_is_that_of_the_gravest_failure() -> None:
    fine, odd = findings.passed("a", "b"), findings.warned("a", "b", "c")
    plugin = replace(findings.failed("a", "b", "c"), exit_code=3)
    assert findings.exit_code([fine, odd]) == 0
    assert findings.exit_code([fine, plugin]) == 3
    assert findings.exit_code([plugin, findings.failed("a", "b", "c")]) == 5
