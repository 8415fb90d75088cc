"""What must be known to repeat a run: versions, device, code, and what it cost."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Harness files that numbers pass through.
NUMERIC = (
    "adapters",
    "checkpoint",
    "encoder",
    "forward",
    "handle",
    "loading",
    "seeding",
    "subset",
    "training",
)
FROZEN = ("checkpoint", "encoder", "forward", "handle", "loading", "seeding")
PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "transformers",
    "peft",
    "scikit-learn",
    "safetensors",
    "pillow",
    "pydicom",
    "nibabel",
    "nilearn",
    "segmentation-models-pytorch",
    "omnibench",
)


def describe(device: str) -> dict[str, Any]:
    """Return versions, device and threads of this process; torch must be imported already."""
    import torch

    installed = versions(PACKAGES)
    cuda = device.startswith("cuda")
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": installed,
        "packages_sha256": _digest(sorted(f"{k}=={v}" for k, v in installed.items())),
        "cuda": torch.version.cuda if cuda else None,
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "threads": torch.get_num_threads(),
        # Kernels without a deterministic form run all the same, with a warning.
        "deterministic": "warn_only" if torch.are_deterministic_algorithms_enabled() else "no",
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, without importing them."""
    return {name: version for name in packages if (version := _version(name)) is not None}


@functools.cache  # searching for all of them takes longer than an epoch of a linear head
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def code(modules: tuple[str, ...]) -> dict[str, Any]:
    """Return commit, dirty flag and a digest of the source that can change a number.

    Args:
        modules: Names of the task's, the encoder's and the dataset's modules; their packages
            (`package.part`, whole) count, with the harness files that numbers pass through.
    """
    here = Path(__file__).parent
    files = {*(here / f"{name}.py" for name in NUMERIC), *(here / "metrics").glob("*.py")}
    files |= set((here / "features").glob("*.py"))
    for name in modules:
        files |= set(_sources(name))
    tracked = bool(_git(here, "ls-files", "--error-unmatch", Path(__file__).name))
    return {
        "git_commit": _git(here, "rev-parse", "HEAD") if tracked else "",
        "dirty": tracked and bool(_git(here, "status", "--porcelain", "--untracked-files=no")),
        "semantic_sha256": _digest_of_files(files),
    }


@functools.cache
def frozen_code(modules: tuple[str, ...]) -> str:
    """Return a digest of the source that frozen outputs pass through.

    Args:
        modules: Names of the encoder's or the dataset's module, as for `code`.
    """
    here = Path(__file__).parent
    files = {*(here / f"{name}.py" for name in FROZEN), *(here / "features").glob("*.py")}
    for name in modules:
        files |= set(_sources(name))
    return _digest_of_files(files)


@functools.cache
def source_code(module: str) -> str:
    """Return a digest of the source of a module's package, as `code` counts it."""
    return _digest_of_files(_sources(module))


def _digest_of_files(files: Iterable[Path]) -> str:
    return _digest(hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files))


def _sources(module: str) -> list[Path]:
    """Return the Python files of a module's package, at most two names deep."""
    found = sys.modules.get(".".join(module.split(".")[:2]))
    source = getattr(found, "__file__", None)
    if source is None:
        return []
    return (
        sorted(Path(source).parent.rglob("*.py")) if hasattr(found, "__path__") else [Path(source)]
    )


def reset_peak_memory(device: str) -> None:
    """Begin a new peak on an accelerator; that of a process cannot be reset."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes: of the accelerator, or resident of this process so far."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    """Ask git about the folder that this code runs from; empty outside a checkout."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
