"""A folder of files that is there whole or not at all."""

from __future__ import annotations

import glob
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from omnibench.errors import SetupError, UsageError

OURS = frozenset(
    {
        *("index.html", "methods.html", "datasets", "encoders", "comparisons", "figures"),
        *("style.css", "table.js", "tables.md", "tables.tex", "board.csv", "board.json"),
        *("records", "records.zip", "pictures", "references.bib", "CITATION.cff"),
        *("README.md", ".nojekyll"),
    }
)


def require_replaceable(out: Path) -> None:
    """Raise if a folder cannot be written, or if replacing it would destroy what no build wrote.

    Args:
        out: The folder; it need not exist.

    Raises:
        SetupError: If nothing can be written beside it.
        UsageError: If it holds other files, or is none.
    """
    try:
        out.resolve().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_prefix(out), dir=out.resolve().parent):
            pass
    except OSError as error:
        raise _unwritable(out, error) from None
    if not out.exists():
        return
    if not out.is_dir() or out.is_symlink():
        raise UsageError(f"{out} is not a folder; name another with --out")
    names = {path.name for path in out.iterdir()}
    # A folder that merely holds a README.md, or records, is somebody's work.
    foreign = sorted(names - OURS if "board.json" in names else names)
    if foreign:
        raise UsageError(
            f"{out} holds {len(foreign)} files or folders that no build wrote "
            f"({', '.join(foreign[:5])}); name another with --out"
        )


# An hour: no build takes so long.
STRAY_SECONDS = 3600


def replace(out: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write files beside a folder, then put them in its place; a failure leaves the old one.

    Args:
        out: The folder to make.
        files: By path inside it: their bytes, or a file to copy.

    Raises:
        SetupError: If it cannot be written.
    """
    out = out.resolve()
    fresh: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)
        fresh.chmod(0o755)  # mkdtemp makes it private, and a site is there to be read
        _swap(fresh, out)
    except OSError as error:
        raise _unwritable(out, error) from None
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> SetupError:
    told = f"{error.filename or out}: {error.strerror or error}"
    return SetupError(
        f"{out} could not be written ({told}); free space or name another folder with --out"
    )


def _prefix(out: Path) -> str:
    return f".{out.resolve().name}-building-"


def _swap(fresh: Path, out: Path) -> None:
    """Put a folder in another's place; between the two renames a reader sees neither."""
    old = out.with_name(f"{_prefix(out)}{uuid.uuid4().hex}")
    if out.exists():
        out.replace(old)
    try:
        fresh.replace(out)
    except OSError:
        if old.exists():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sweep(out)


def _sweep(out: Path) -> None:
    """Remove what builds of this folder left that were killed; the folder itself is whole now."""
    for path in out.parent.glob(f"{glob.escape(_prefix(out))}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STRAY_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
