"""Results folders in, records out: strictly, and every file that is no record is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnibench.claims import Claims
from omnibench.errors import IntegrityError, OmnibenchError, SetupError
from omnibench.records import RunRecord
from omnibench.store import Store
from omnibench_leaderboard.manifest import MANIFEST
from omnibench_leaderboard.runs import Exclusion

SHOWN = 3  # names in a message about a folder without records
IDENTITY = {
    "encoder": ("name", "plugin", "plugin_version", "weights", "weights_sha256"),
    "dataset": ("name", "plugin", "content_sha256"),
    "task": ("name", "plugin", "protocol_sha256"),
}


@dataclass(frozen=True)
class Found:
    """One record, its digest, and the folder it lies in."""

    record: RunRecord
    sha256: str
    store: Store


def read(folders: Sequence[Path]) -> tuple[list[Found], list[Exclusion]]:
    """Read every record below the folders; one record in two folders counts once.

    Raises:
        SetupError: If a folder is not there, or none holds a record.
    """
    found: dict[str, Found] = {}
    refused: list[Exclusion] = []
    for folder in folders:
        if not folder.is_dir():
            raise SetupError(f"{folder} is not a folder; `omnibench run --results DIR …` makes one")
        store = Store(folder)
        for path in store.paths():
            try:
                record = _read(store, path)
            except OmnibenchError as error:
                refused.append(refusal(path.name, "damaged", error, folder, path))
            else:
                # The store has just made sure that the file's name is the record's digest.
                found.setdefault(path.stem, Found(record, path.stem, store))
        refused += _foreign(folder)
    if not found and not any(item.kind == "damaged" for item in refused):
        raise SetupError(_nothing(folders, refused))
    return [found[name] for name in sorted(found)], refused


def refusal(
    what: str, kind: str, error: OmnibenchError, folder: Path, path: Path | None = None
) -> Exclusion:
    """Say why a record may not enter, without naming folders of this machine."""
    return Exclusion(
        what=what,
        kind=kind,
        reason=str(error).replace(f"{folder}/", ""),
        path=path.relative_to(folder).as_posix() if path else "",
        exit_code=error.exit_code,
    )


def _read(store: Store, path: Path) -> RunRecord:
    record = store.read(path)
    identity = record.identity
    texts = [identity[part].get(name) for part, names in IDENTITY.items() for name in names]
    texts += [identity.get("device"), identity.get("precision")]
    if not all(isinstance(text, str) for text in texts):
        raise IntegrityError(f"{path}: its identity lacks what tells runs apart")
    return record


def _foreign(folder: Path) -> Iterator[Exclusion]:
    """Name JSON files that lie where no record lies, nor a claim on a run that goes on."""
    known, claims = {*Store(folder).paths(), folder / MANIFEST}, Claims(folder).folder
    for path in sorted(folder.rglob("*.json")):
        if path not in known and path.parent != claims:
            yield Exclusion(
                what=path.name,
                kind="foreign",
                reason="not a record: records lie in runs/<2 digits>/<run id>/<digest>.json",
                path=path.relative_to(folder).as_posix(),
            )


def _nothing(folders: Sequence[Path], refused: Sequence[Exclusion]) -> str:
    where = ", ".join(map(str, folders))
    message = f"{where} holds no records; `omnibench run --results {folders[0]} …` makes them"
    if refused:
        names = ", ".join(item.path for item in refused[:SHOWN])
        more = ", …" if len(refused) > SHOWN else ""
        message += f". {len(refused)} other JSON files were passed over: {names}{more}"
    return message
