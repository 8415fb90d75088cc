"""Torch, its devices, WordNet, and memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omnibench.doctor.findings import GIB, Finding, failed, passed, size_text, warned
from omnibench.errors import SetupError

PATIENCE = 60.0  # seconds; torch's first import from a cold disk takes tens of them
ENOUGH = 4 * GIB  # ours: a small encoder, torch itself and a decoded dataset of the paper's size
REINSTALL = "pip install --force-reinstall torch"
CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use


class Probe:
    """A process that imports something heavy while other things are looked at.

    Args:
        what: `torch` or `wordnet`.
    """

    def __init__(self, what: str) -> None:
        self._process = subprocess.Popen(
            # -P: a file torch.py in the working folder must not be taken for torch.
            [sys.executable, "-P", "-m", "omnibench.doctor.heavy", what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """Wait for the answer.

        Raises:
            SetupError: If the process failed or took too long.
        """
        try:
            told, complaint = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise SetupError(f"did not end within {PATIENCE:.0f} s") from None
        if self._process.returncode != 0:
            lines = complaint.strip().splitlines() or [f"exit {self._process.returncode}"]
            raise SetupError(lines[-1])
        answer: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
        return answer


def torch(probe: Probe) -> Iterator[Finding]:
    """Yield what torch says of itself and of each device."""
    try:
        said = probe.answer()
    except SetupError as error:
        yield failed("torch", f"cannot be imported: {error}", REINSTALL)
        return
    yield from device_findings(said)


def wordnet(probe: Probe) -> Finding:
    """Return whether METEOR finds its synonyms."""
    remedy = "set OMNIBENCH_WORDNET to the folder of WordNet's files"
    try:
        name = probe.answer()["name"]
    except SetupError as error:
        return warned("WordNet", f"cannot be read: {error}", remedy)
    if name is None:
        return warned("WordNet", "not found: captions get `meteor_nosyn`, not `meteor`", remedy)
    return passed("WordNet", f"captions get `meteor`: {name}")


def device_findings(said: dict[str, Any]) -> Iterator[Finding]:
    """Yield findings about what a probe said."""
    cuda = f"CUDA {said['cuda']}" if said["cuda"] else "built for the CPU"
    yield passed("torch", f"{said['version']}, {cuda}")
    for device in said["devices"]:
        topic = f"device {device['name']}"
        if "fault" in device:
            yield warned(topic, f"is seen but does not work: {device['fault']}", "nvidia-smi")
        else:
            yield passed(topic, device["told"])
    if len(said["devices"]) == 1 and shutil.which("nvidia-smi"):
        told = "this machine has NVIDIA's tools, but torch sees no accelerator"
        yield warned("device cuda", told, "nvidia-smi; then pip install torch for that CUDA")


def memory() -> Finding:
    """Return how much memory there is, a container's limit counted."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(CGROUP.read_text()))
    if total < ENOUGH:
        remedy = "use --set batch_size=… and small encoders, or a larger machine"
        return warned("memory", f"{size_text(total)} in all", remedy)
    return passed("memory", f"{size_text(total)} in all")
