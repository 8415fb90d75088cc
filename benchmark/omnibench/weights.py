"""Which parameters an encoder gets, decided and checked before torch is imported.

A revision nobody has seen is pinned once seen: `<cache>/weights-lock.json` maps
`repository/file` to its commit and SHA-256 digest, and later runs ask for that commit and
refuse other bytes. What a card itself states wins over the lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omnibench import hub
from omnibench.cards import EncoderSpec, HubFile
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.handle import WeightsChoice

LOCK_NAME = "weights-lock.json"
ENTRY = {"commit": re.compile(r"\w{0,64}", re.ASCII), "sha256": re.compile(r"[0-9a-f]{64}")}
DRAWING_RULE = 1  # raise whenever `--random-weights` would draw other numbers


def resolve(
    card: EncoderSpec, *, file: Path | None, random: bool, offline: bool, cache: Path
) -> WeightsChoice:
    """Find an encoder's parameters and their digest.

    Args:
        card: The encoder.
        file: `--weights FILE`.
        random: `--random-weights`.
        offline: Never touch the network.
        cache: Folder of the lock file.

    Returns:
        The choice. For an encoder with companion files the digest covers them too.

    Raises:
        UsageError: If the options contradict each other or the encoder.
        SetupError: If `file` does not exist.
        WeightsMissing: If official weights are not here and cannot be fetched.
        IntegrityError: If a file is not the one that was pinned.
    """
    if file is not None and (random or card.end_to_end):
        scratch = f"{card.name}, which is trained from scratch"
        reason = scratch if card.end_to_end else "--random-weights"
        raise UsageError(f"--weights cannot be combined with {reason}; drop --weights")
    if card.end_to_end:
        return WeightsChoice(kind="own")
    if file is not None:
        return _from_file(card, file)
    if random:
        return _random(card, offline=offline, cache=cache)
    if card.source is None:
        return WeightsChoice(kind="own")
    names = (card.source.filename, *card.source.companions)
    paths, commit = locked_files(card.source, names, offline=offline, cache=cache)
    return WeightsChoice(
        kind="official", path=paths[0], sha256=joint_digest(paths), revision=commit
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 digest of a file (hex)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_file(card: EncoderSpec, file: Path) -> WeightsChoice:
    companions = card.source.companions if card.source else ()
    paths = [file, *(file.parent / name for name in companions)]
    for path in paths:
        if not path.is_file():
            beside = "" if path == file else f", which must lie beside {file.name}"
            raise SetupError(f"--weights {file}: there is no file {path}{beside}")
    try:
        modified = file.stat().st_mtime_ns  # before, so that a later write cannot be missed
        return WeightsChoice(kind="file", path=file, sha256=joint_digest(paths), modified=modified)
    except OSError as error:
        raise SetupError(f"--weights {file} cannot be read: {error.strerror}") from error


def _random(card: EncoderSpec, *, offline: bool, cache: Path) -> WeightsChoice:
    """Return the drawing rule's digest; the path is that of a companion, if building needs one."""
    rule = [f"omnibench random weights {DRAWING_RULE} {card.name}"]
    if card.source is None or not card.source.companions:
        return WeightsChoice(kind="random", sha256=_text_digest(rule))
    paths, commit = locked_files(card.source, card.source.companions, offline=offline, cache=cache)
    rule += [sha256_of(path) for path in paths]
    return WeightsChoice(kind="random", path=paths[0], sha256=_text_digest(rule), revision=commit)


def joint_digest(paths: Sequence[Path]) -> str:
    """Return the digest of one file, or of the digests of several in order."""
    digests = [sha256_of(path) for path in paths]
    return digests[0] if len(digests) == 1 else _text_digest(digests)


def _text_digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def locked_files(
    source: HubFile, names: Sequence[str], *, offline: bool, cache: Path
) -> tuple[list[Path], str]:
    """Return paths of files of one commit, checked against card and lock."""
    lock_path = cache / LOCK_NAME
    lock = _read_lock(lock_path)
    seen: dict[str, dict[str, str]] = {}
    commit = source.revision or lock.get(f"{source.repo}/{names[0]}", {}).get("commit", "")
    paths = []
    for name in names:
        path, commit = hub.fetch(source, name, commit, offline=offline)
        key = f"{source.repo}/{name}"
        digest = sha256_of(path)
        pinned = lock.get(key, {})
        if name == source.filename and source.sha256:
            _require(digest, source.sha256, path, "its card states")
        elif pinned.get("commit") == commit:
            _require(digest, pinned["sha256"], path, f"{lock_path} has pinned")
        seen[key] = {"commit": commit, "sha256": digest}
        paths.append(path)
    if any(lock.get(key) != entry for key, entry in seen.items()):
        _pin(lock_path, seen)
    return paths, commit


def cached(source: HubFile, cache: Path) -> bool:
    """Tell whether all files of a source are on this machine; no digest is taken.

    Raises:
        IntegrityError: If the lock file is damaged.
    """
    lock = _read_lock(cache / LOCK_NAME)
    commit = source.revision or lock.get(f"{source.repo}/{source.filename}", {}).get("commit", "")
    names = (source.filename, *source.companions)
    return all(hub.cached(source, name, commit) is not None for name in names)


def _require(digest: str, expected: str, path: Path, who: str) -> None:
    if digest != expected:
        raise IntegrityError(
            f"{path} has SHA-256 {digest}, but {who} {expected}: it is damaged or was "
            f"replaced. Delete {path.resolve()} and run again to fetch it anew."
        )


def _read_lock(path: Path) -> dict[str, dict[str, str]]:
    try:
        lock = json.loads(path.read_text())
        return {key: _entry(entry) for key, entry in lock["files"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SetupError(
            f"{path} cannot be read ({error.strerror}): choose another folder with --cache"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"{path} is damaged ({error}): delete it, and the next download pins anew"
        ) from error


def _entry(entry: dict[str, str]) -> dict[str, str]:
    """Check an entry of the lock file: its commit becomes part of a path."""
    found = {name: entry[name] for name in ENTRY}
    for name, pattern in ENTRY.items():
        if not pattern.fullmatch(found[name]):
            raise ValueError(f"{name} {found[name]!r:.60}")
    return found


def _pin(path: Path, seen: dict[str, dict[str, str]]) -> None:
    """Add entries; two processes that pin at once lose nothing."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            _write_lock(path, _read_lock(path) | seen)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written ({error.strerror}): choose another folder with --cache"
        ) from error


def _write_lock(path: Path, files: dict[str, dict[str, str]]) -> None:
    """Replace the lock file in one step, so that a reader never sees half of it."""
    text = json.dumps({"schema": "omnibench.weights-lock/1", "files": files}, indent=1)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    Path(stream.name).replace(path)
