"""Files that a task needs besides the encoder's weights, found before torch is imported."""

from __future__ import annotations

from pathlib import Path

from omnibench.cards import Asset, HubFile, LocalFiles
from omnibench.errors import SetupError
from omnibench.weights import joint_digest, locked_files


def resolve(wanted: HubFile | LocalFiles, field: str, *, offline: bool, cache: Path) -> Asset:
    """Find files and their digest, by the same lock as encoders' weights.

    Args:
        wanted: Which files.
        field: The recipe field that names them, for messages.
        offline: Never touch the network.
        cache: Folder of the lock file.

    Raises:
        WeightsMissing: If files of the hub are not here and cannot be fetched.
        SetupError: If a folder lacks one.
        IntegrityError: If a file is not the one that was pinned.
    """
    if isinstance(wanted, LocalFiles):
        return _from_folder(wanted, field)
    names = (wanted.filename, *wanted.companions)
    paths, commit = locked_files(wanted, names, offline=offline, cache=cache)
    return Asset(
        name=wanted.repo,
        files=dict(zip(names, paths, strict=True)),
        sha256=joint_digest(paths),
        revision=commit,
    )


def _from_folder(wanted: LocalFiles, field: str) -> Asset:
    paths = [wanted.folder / name for name in wanted.names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise SetupError(
            f"--set {field}={wanted.folder}: the folder lacks {', '.join(missing)}; it needs "
            f"{', '.join(wanted.names)}"
        )
    try:
        sha256 = joint_digest(paths)
    except OSError as error:
        raise SetupError(
            f"--set {field}={wanted.folder} cannot be read: {error.strerror}"
        ) from error
    return Asset(
        name=f"folder+{sha256[:8]}",
        files=dict(zip(wanted.names, paths, strict=True)),
        sha256=sha256,
    )
