"""Sources from texts such as `folder:PATH`, one text a source."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from omnirad.errors import UsageError

if TYPE_CHECKING:
    from omnirad.data.sources import Source

KINDS = {
    "folder": "PNG and JPEG images below a folder",
    "dicom": "DICOM files below a folder",
    "npz": "an archive of MedMNIST or MedSegBench",
    "radimagenet": "the folder with radiology_ai/ and its three tables",
    "packed": "a folder that pack has written",
    "mni152": "slices of the MNI152 template, without a path",
}
SPLITS = ("train", "val", "test")


class DataSpec(NamedTuple):
    """One source as it was typed."""

    kind: str
    path: Path | None


def parse(text: str) -> DataSpec:
    """Return what one text names, without looking at the disk.

    Raises:
        UsageError: If the kind is unknown, or a path is missing or too many.
    """
    kind, colon, path = text.partition(":")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"there is no kind of data {kind!r} in {text!r}.{hint} Write KIND:PATH with KIND one "
            f"of {', '.join(KINDS)}"
        )
    if kind == "mni152":
        if colon:
            raise UsageError(f"{text!r}: mni152 takes no path, it comes with nilearn")
        return DataSpec(kind, None)
    if not path.strip():
        raise UsageError(f"{text!r} names no path; write {kind}:PATH ({KINDS[kind]})")
    return DataSpec(kind, Path(path).expanduser())


def open_sources(texts: Sequence[str], splits: Sequence[str] = ("train",)) -> Source:
    """Open every source; several become a mixture.

    Args:
        texts: One text a source, see `KINDS`.
        splits: Which of `train`, `val` and `test` to read of sources that have splits. Anything but
            train spoils those splits for evaluation.

    Raises:
        UsageError: If a text or split makes no sense, or a source is named twice.
        SetupError: If something is missing on this machine.
        DataError: If a source does not hold what it should.
    """
    if not texts:
        raise UsageError(f"no data is named; write KIND:PATH with KIND one of {', '.join(KINDS)}")
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        raise UsageError(f"splits {list(splits)}: name one or more of {', '.join(SPLITS)}")
    specs = [parse(text) for text in texts]
    twice = [text for text, spec in zip(texts, specs, strict=True) if specs.count(spec) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is named more than once; name each source once")
    sources = [_open(spec, tuple(dict.fromkeys(splits))) for spec in specs]
    if len(sources) == 1:
        return sources[0]
    from omnirad.data.mixture import Mixture

    return Mixture(sources)


def _open(spec: DataSpec, splits: tuple[str, ...]) -> Source:
    if spec.path is None:
        from omnirad.data.mni152 import open_mni152

        return open_mni152(splits)
    if spec.kind == "npz":
        from omnirad.data.npz import open_npz

        return open_npz(spec.path, splits)
    if spec.kind == "radimagenet":
        from omnirad.data.radimagenet import open_radimagenet

        return open_radimagenet(spec.path, splits)
    if spec.kind == "packed":
        from omnirad.data.packed import open_packed

        return open_packed(spec.path)
    from omnirad.data.files import open_dicom, open_folder

    return (open_dicom if spec.kind == "dicom" else open_folder)(spec.path, splits)
