"""`omnibench verify`: may these records be published? The same answer at home and in CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnibench.registry import Registry
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.manifest import MANIFEST, changes
from omnibench_leaderboard.runs import Collection, Exclusion

INTEGRITY = 4


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What verifying results folders found.

    Args:
        collection: Runs that may enter tables, and why the others may not.
        changed: What differs from a folder's manifest.
    """

    collection: Collection
    changed: tuple[Exclusion, ...]

    @property
    def problems(self) -> tuple[Exclusion, ...]:
        """What must be mended before these records are published."""
        faults = [item for item in self.collection.exclusions if item.exit_code]
        return (*faults, *self.changed)

    @property
    def notes(self) -> tuple[Exclusion, ...]:
        """What tables will leave out, though no record is at fault."""
        return tuple(item for item in self.collection.exclusions if not item.exit_code)

    @property
    def exit_code(self) -> int:
        """0, or what the gravest problem means."""
        codes = {item.exit_code for item in self.problems}
        return INTEGRITY if INTEGRITY in codes else max(codes, default=0)

    @property
    def summary(self) -> str:
        """One line with counts."""
        counts = (
            (len(self.collection.runs), "records verified"),
            (len(self.problems), "problems"),
            (len(self.notes), "left out of tables"),
            (len(self.collection.missing), "runs unfinished"),
        )
        return ", ".join(f"{count} {what}" for count, what in counts)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "summary": self.summary,
            "exit_code": self.exit_code,
            "verified": [
                {
                    "record": run.sha256,
                    "run": run.title,
                    "found": run.evidence.verdict,
                    "evidence": run.level,
                }
                for run in self.collection.runs
            ],
            "problems": [asdict(item) for item in self.problems],
            "left_out": [asdict(item) for item in self.notes],
            "unfinished": [
                {"run": item.title, "reason": item.reason} for item in self.collection.missing
            ],
        }


def verify(
    folders: Sequence[Path], registry: Registry, *, against_manifest: bool = True
) -> Verdict:
    """Check schema, digests, metrics, copies and manifests; nothing is taken from a cache.

    Raises:
        SetupError: If a folder is not there or none holds a record.
        IntegrityError: If a manifest was changed.
    """
    collection = collect(folders, registry)
    changed = (
        Exclusion(
            what=Path(name).name,
            kind="damaged",
            reason=f"{reason}; restore it, or write {MANIFEST} anew with --seal",
            path=name,
            exit_code=INTEGRITY,
        )
        for folder in folders
        for name, reason in (changes(folder) if against_manifest else ())
    )
    return Verdict(collection=collection, changed=tuple(changed))
