"""What a results folder amounts to: runs that may be compared, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnibench.records import RunRecord
from omnibench.summary import recipe_label

if TYPE_CHECKING:
    import pandas as pd

    from omnibench_leaderboard.evidence import Evidence


@dataclass(frozen=True, kw_only=True, order=True)
class Setting:
    """What must be the same for two numbers to stand in one column, whatever the metric.

    `recipe` names what was changed in it; `limit` is `--limit`, 0 for the whole dataset.
    """

    task: str
    dataset: str
    recipe: str
    tuning: str
    variant: str = ""
    limit: int = 0

    @property
    def title(self) -> str:
        """One line that names it."""
        parts = [self.task, self.dataset, f"recipe {self.recipe}", self.tuning, self.variant]
        parts.append(f"limit {self.limit}" if self.limit else "")
        return " · ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True, order=True)
class EncoderKey:
    """One set of parameters: encoders are the same if and only if these agree."""

    name: str
    plugin: str
    plugin_version: str
    weights: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A complete record whose metrics its predictions give again.

    Args:
        record: The record.
        sha256: Its digest.
        root: Results folder that holds it.
        evidence: What recomputing found.
        confirmed: A maintainer's own run of the same identity agrees (evidence level 2).
    """

    record: RunRecord
    sha256: str
    root: Path
    evidence: Evidence
    confirmed: bool = False

    @cached_property
    def setting(self) -> Setting:
        """The column, but for its metric."""
        return setting_of(self.record)

    @cached_property
    def encoder(self) -> EncoderKey:
        """The row."""
        return encoder_of(self.record)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.record.seed

    @property
    def level(self) -> int:
        """1 = metrics recomputed from predictions, 2 = also run again by maintainers.

        Code with uncommitted changes cannot be run again, so it never reaches 2
        (statistics.md 3.2).
        """
        return 2 if self.confirmed and not self.record.code.get("dirty") else 1

    @property
    def title(self) -> str:
        """One line that names the run."""
        return title_of(self.record)

    @cached_property
    def run_id(self) -> str:
        """Digest of what was asked."""
        return self.record.run_id

    @property
    def place(self) -> str:
        """Path of the record inside its results folder."""
        return f"runs/{self.run_id[:2]}/{self.run_id}/{self.sha256}.json"


@dataclass(frozen=True, kw_only=True, order=True)
class Missing:
    """A run that was begun and did not finish."""

    title: str
    setting: Setting
    encoder: EncoderKey
    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True, order=True)
class Exclusion:
    """Something that was left out.

    Args:
        what: The run or file.
        kind: `foreign`, `damaged`, `unverified`, `copied`, `repeated`, `mixed` or `metric`.
        reason: Why, in words.
        path: Inside the results folder.
        exit_code: What `omnibench verify` ends with because of it; 0 = no fault.
    """

    what: str
    kind: str
    reason: str
    path: str = ""
    exit_code: int = 0


Cell = tuple[Setting, EncoderKey]


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All runs that may enter tables, in a fixed order, and what was left out."""

    runs: tuple[Run, ...]
    missing: tuple[Missing, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    @cached_property
    def cells(self) -> Mapping[Cell, tuple[Run, ...]]:
        """Runs of one encoder under one setting, by seed."""
        found: dict[Cell, list[Run]] = {}
        for run in sorted(self.runs, key=lambda r: (r.setting, r.encoder, r.seed)):
            found.setdefault((run.setting, run.encoder), []).append(run)
        return {cell: tuple(runs) for cell, runs in found.items()}

    @cached_property
    def labels(self) -> Mapping[EncoderKey, str]:
        """How tables show each encoder: its records' label, made unique where two share one."""
        latest = {}
        for run in sorted(self.runs, key=lambda r: (str(r.record.timing.get("ended")), r.sha256)):
            latest[run.encoder] = run.record.label
        shown = {}
        for key, label in latest.items():
            rivals = [k for k, other in latest.items() if other == label and k != key]
            shown[key] = label + (_mark(key, rivals) if rivals else "")
        return shown

    def frame(self) -> pd.DataFrame:
        """Return one row for every run and metric, as tidy data."""
        import pandas as pd

        rows = [row for run in self.runs for row in _rows(run, self.labels[run.encoder])]
        return pd.DataFrame(rows)


def setting_of(record: RunRecord) -> Setting:
    """Return what a record's numbers may be compared with."""
    identity = record.identity
    return Setting(
        task=identity["task"]["name"],
        dataset=identity["dataset"]["name"],
        recipe=recipe_label(record),
        tuning=identity["tuning"],
        variant=identity["task"]["variant"],
        limit=identity["dataset"]["limit"],
    )


def encoder_of(record: RunRecord) -> EncoderKey:
    """Return whose numbers these are."""
    encoder = record.identity["encoder"]
    return EncoderKey(
        **{
            name: str(encoder.get(name, ""))
            for name in ("name", "plugin", "plugin_version", "weights", "weights_sha256")
        }
    )


def title_of(record: RunRecord) -> str:
    """Return one line that names a run."""
    return f"{record.label} · {setting_of(record).title} · seed {record.seed}"


def _mark(key: EncoderKey, rivals: list[EncoderKey]) -> str:
    """Return what tells an encoder from others of the same label."""
    for name, mark in (("weights_sha256", "+"), ("plugin", " of "), ("plugin_version", " ")):
        mine: str = getattr(key, name)
        if mine and all(getattr(rival, name) != mine for rival in rivals):
            return mark + (mine[:8] if name == "weights_sha256" else mine)
    return f" ({key.name} of {key.plugin}, weights {key.weights} {key.weights_sha256[:8]})"


def _rows(run: Run, label: str) -> list[dict[str, Any]]:
    record, identity = run.record, run.record.identity
    shared = {
        "encoder": label,
        "encoder_name": run.encoder.name,
        "weights": run.encoder.weights,
        **{name: getattr(run.setting, name) for name in Setting.__dataclass_fields__},
        "seed": run.seed,
        "device": identity["device"],
        "precision": identity["precision"],
        "cases": run.evidence.cases,
        "evidence": run.level,
        "record": run.sha256,
    }
    return [
        {**shared, "metric": name, **{k: m[k] for k in ("value", "unit", "higher_is_better")}}
        for name, m in sorted(record.metrics.items())
    ]
