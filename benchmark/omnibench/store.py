"""Records on disk: content-addressed, first writer wins, nothing is ever overwritten.

    <results>/runs/ab/<run_id>/<record_sha256>.json
    <results>/runs/ab/<run_id>/<predictions_sha256>.npz
    <results>/pictures/<run_id>.png
    <results>/weights/<weights_sha256>.safetensors    (--keep-weights)

Every file is written beside its place, flushed to the disk and then linked to its name, so
that a name either does not exist or names a whole file. Names are digests: a file that is not of
its name was damaged, and gives way when the whole one is written again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from omnibench import predictions as packed
from omnibench import strict_json
from omnibench.errors import IntegrityError, SetupError
from omnibench.records import Arrays, LaterRecord, RunRecord, parse

log = logging.getLogger(__name__)

STRAY_SECONDS = 3600
STRAY = re.compile(r"\.([0-9]{1,9})-.+")  # the writer's process id
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


REMEDY = "Move the file away; the same command then makes it anew."
REMEDY_OF_BOTH = "Move the record beside it (.json) away; the same command then makes both anew."


class Store:
    """The records below one results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def require_writable(self) -> None:
        """Create the folder and prove that it can be written to, before time is spent."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".probe-"):
                pass
        except OSError as error:
            raise SetupError(
                f"the results folder {self.root} cannot be written to ({error.strerror}); "
                "choose another with --results DIR"
            ) from None

    def _sweep(self) -> None:
        """Remove what killed writers left behind: old, and of processes that are gone."""
        for path in self.root.rglob(".[0-9]*-*"):
            name = STRAY.fullmatch(path.name)
            with contextlib.suppress(OSError):  # another's, or swept by another: nobody's harm
                old = time.time() - path.stat().st_mtime > STRAY_SECONDS
                if name and old and not _is_alive(int(name[1])):
                    path.unlink()

    def folder(self, run_id: str) -> Path:
        """Return the folder of one run."""
        return self.root / "runs" / run_id[:2] / run_id

    def save(self, record: RunRecord, arrays: Arrays) -> Path:
        """Write predictions, then the record that names them; return the record's path.

        `record.predictions` must come from `prepare(arrays)`.
        """
        folder = self.folder(record.run_id)
        if record.predictions is not None:
            data = packed.pack(arrays)
            _write_once(folder / f"{record.predictions['sha256']}.npz", data)
        path = folder / f"{record.record_sha256}.json"
        _write_once(path, record.to_json().encode())
        return path

    @staticmethod
    def prepare(arrays: Arrays) -> dict[str, object]:
        """Return the description of arrays that a record carries."""
        return packed.describe(packed.pack(arrays), arrays)

    def picture(self, run_id: str) -> Path:
        """Return where the picture of a run lies, if it was drawn."""
        return self.root / "pictures" / f"{run_id}.png"

    def save_picture(self, run_id: str, png: bytes) -> Path:
        """Write the picture of a run; a picture can be drawn anew, so it may be replaced."""
        path = self.picture(run_id)
        with _temporary(path, png) as temporary:
            temporary.replace(path)
        return path

    @staticmethod
    def prepare_weights(arrays: Arrays) -> dict[str, object]:
        """Return the description of kept weights that a record carries."""
        data = _safetensors(arrays)
        return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    def save_weights(self, arrays: Arrays) -> Path:
        """Write what a run trained, as safetensors named by digest (`--keep-weights`)."""
        data = _safetensors(arrays)
        path = self.root / "weights" / f"{hashlib.sha256(data).hexdigest()}.safetensors"
        _write_once(path, data)
        return path

    def take(self, other: Store, path: Path) -> bool:
        """Copy a record of another store bit for bit, with what it names; tell if it was new.

        What is whole here is left alone, and what is damaged here is written again.

        Raises:
            IntegrityError: If record, predictions or weights are damaged; nothing is copied then.
            SetupError: If something cannot be read or written.
        """
        record = other.read(path)
        target = self.folder(record.run_id) / path.name
        new = not target.exists()
        named: dict[Path, str] = {}
        if record.predictions is not None:
            other.predictions(record)
            digest = str(record.predictions["sha256"])
            named[path.with_name(f"{digest}.npz").relative_to(other.root)] = digest
        if record.weights is not None:  # only --keep-weights leaves the file, and it may be gone
            digest = str(record.weights["sha256"])
            named[Path("weights", f"{digest}.safetensors")] = digest
        for place, digest in named.items():
            if (data := _read_if_there(other.root / place)) is not None:
                if hashlib.sha256(data).hexdigest() != digest:
                    raise IntegrityError(f"{other.root / place}: its digest is not its name")
                _write_once(self.root / place, data)
        picture = _read_if_there(other.picture(record.run_id))
        if picture is not None and not self.picture(record.run_id).exists():
            self.save_picture(record.run_id, picture)
        _write_once(target, path.read_bytes())
        return new

    def find(self, run_id: str) -> tuple[RunRecord, Path] | None:
        """Return the complete record of a run, read and verified, or None.

        Of several, the earliest wins, and others that disagree are said; a damaged record is an
        error, never silently redone.
        """
        found = []
        for path in sorted(self.folder(run_id).glob("*.json")):
            record = self.read(path)
            if record.status == "complete":
                found.append((str(record.timing.get("ended", "")), path, record))
        if not found:
            return None
        _, path, record = min(found, key=lambda item: item[:2])
        if len({repr(other.metrics) for *_, other in found}) > 1:
            log.warning("REPLICATES DIFFER: %s holds runs with other metrics", path.parent)
        self.predictions(record)
        return record, path

    def read(self, path: Path) -> RunRecord:
        """Read one record; its name and folder must agree with its content."""
        try:
            with path.open("rb") as file:
                record = parse(file.read(strict_json.MAX_BYTES + 1), str(path))
        except OSError as error:
            raise _unreadable(path, error) from None
        except LaterRecord:
            raise
        except IntegrityError as error:
            raise IntegrityError(f"{error}. {REMEDY}") from None
        if path.stem != record.record_sha256 or path.parent.name != record.run_id:
            raise IntegrityError(f"{path}: the file's name does not belong to its content")
        return record

    def predictions(self, record: RunRecord) -> Arrays:
        """Read and verify the predictions of a complete record."""
        described = record.predictions or {}
        path = self.folder(record.run_id) / f"{described.get('sha256')}.npz"
        try:
            with path.open("rb") as file:
                data = file.read(described.get("bytes", 0) + 1)  # one too many is enough to refuse
        except FileNotFoundError:
            raise IntegrityError(
                f"{path}: the predictions of a complete record are missing. {REMEDY_OF_BOTH}"
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        try:
            return packed.unpack(data, described, str(path))
        except IntegrityError as error:
            raise IntegrityError(f"{error}. {REMEDY_OF_BOTH}") from None

    def paths(self) -> Iterator[Path]:
        """Yield the path of every record, in a fixed order."""
        yield from sorted((self.root / "runs").glob("??/*/*.json"))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _safetensors(arrays: Arrays) -> bytes:
    from safetensors.numpy import save

    return save(dict(sorted(arrays.items())))


def _read_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> SetupError:
    return SetupError(f"{path} cannot be read: {error.strerror or error}")


def _write_once(path: Path, data: bytes) -> None:
    """Give `data` a name that nobody has; a whole file of that name is left alone."""
    with _temporary(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            if path.read_bytes() == data:
                return
            log.warning("%s was damaged, and is written again", path)
            temporary.replace(path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            temporary.replace(path)  # names are digests: who else wrote it wrote the same
        _sync_folder(path.parent)


@contextlib.contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    """Write `data` beside `path`, flushed to the disk; remove it in the end."""
    temporary = path.parent / f".{os.getpid()}-{uuid.uuid4().hex}"
    try:
        _make_folder(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        raise SetupError(
            f"{path} could not be written ({error.strerror or error}); {len(data)} bytes are "
            "needed. Finished records are untouched."
        ) from None
    finally:
        with contextlib.suppress(OSError):  # `_sweep` removes it another day
            temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, each known to the disk before anything is put into it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
