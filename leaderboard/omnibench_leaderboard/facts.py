"""What a table must say beside its numbers: licences, costs, and reasons for care."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omnibench_leaderboard.board import Cost, DatasetFacts, Encoder
from omnibench_leaderboard.runs import EncoderKey, Run

RANDOM = "RANDOM: random weights, a floor to compare with"


def encoder(label: str, key: EncoderKey, runs: Sequence[Run]) -> Encoder:
    """Return the row of an encoder, from what its latest record says of it."""
    told = max(runs, key=lambda run: (str(run.record.timing.get("ended")), run.sha256))
    facts = told.record.encoder
    licence, commercial = _licence_of_weights(key.weights, facts)
    return Encoder(
        label=label,
        name=key.name,
        plugin=key.plugin,
        weights=key.weights,
        weights_sha256=key.weights_sha256,
        family=_text(facts, "family"),
        licence=licence,
        commercial=commercial,
        paper=_text(facts, "paper"),
        repository=_text(facts, "repository") or None,
        revision=_text(facts, "revision"),
    )


def _licence_of_weights(kind: str, facts: Mapping[str, Any]) -> tuple[str, bool | None]:
    """Return licence and whether commercial use is allowed: a card speaks of its own weights.

    A file may hold anything; what the card's weights forbid is assumed of those derived from them.
    """
    commercial = _flag(facts, "commercial")
    if kind == "random":
        return "none needed: random weights", True
    if kind == "file":
        return "", False if commercial is False else None
    return _text(facts, "licence"), commercial


def dataset(run: Run) -> DatasetFacts:
    """Return what a table says of a dataset."""
    facts = run.record.dataset
    return DatasetFacts(
        kind=_text(facts, "kind"),
        modality=_text(facts, "modality"),
        licence=_text(facts, "licence"),
        commercial=_flag(facts, "commercial"),
        source_url=_text(facts, "source_url"),
        citation=_text(facts, "citation"),
        content_sha256=run.record.identity["dataset"]["content_sha256"],
    )


def cost(runs: Sequence[Run]) -> Cost:
    """Return the cost of a run of a cell: sizes are equal, times and speeds are averaged."""
    costs = [run.record.cost for run in runs]
    first = costs[0]
    peak = [value for each in costs if (value := _number(each, "peak_memory_bytes")) is not None]
    return Cost(
        params_total=_whole(first, "params_total"),
        params_trainable=_whole(first, "params_trainable"),
        flops_per_image=_whole(first, "flops_per_image"),
        images_per_second=_mean(costs, "images_per_second"),
        seconds=_mean(costs, "seconds"),
        peak_memory_bytes=int(max(peak)) if peak else None,
        gpu=_text(runs[0].record.environment, "gpu") or None,
    )


def column_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Say what keeps a column's numbers from being taken at face value."""
    first = runs[0]
    notes = set()
    if first.record.identity["task"]["recipe"] == "quick":
        notes.add("recipe quick: a first try on few, small images, never a result")
    if first.setting.limit:
        notes.add(f"--limit {first.setting.limit}: not the whole dataset")
    for run in runs:
        facts = run.record.dataset.get("facts") or {}
        if "caution" in facts:
            notes.add(f"{run.setting.dataset}: {facts['caution']}")
        if facts.get("unverified"):
            notes.add("unverified data: their digest is not the published one")
        if run.record.dataset.get("commercial") is False:
            notes.add("data for non-commercial use")
    kinds = sorted({f"{_machine(run)}" for run in runs})
    if len(kinds) > 1:
        notes.add(f"cells were run on {' and '.join(kinds)}")
    return tuple(sorted(notes))


def cell_flags(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return what the task reported of these runs, and what their encoder is."""
    flags = {str(flag) for run in runs for flag in run.record.details.get("flags") or ()}
    if runs[0].encoder.weights == "random":
        flags.add(RANDOM)
    if any(run.record.code.get("dirty") for run in runs):
        flags.add("DIRTY: run by code with changes that were not committed")
    return tuple(sorted(flags))


def _machine(run: Run) -> str:
    identity = run.record.identity
    return f"{identity['device']} {identity['precision']}"


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _flag(facts: Mapping[str, Any], name: str) -> bool | None:
    value = facts.get(name)
    return value if isinstance(value, bool) else None


def _number(facts: Mapping[str, Any], name: str) -> float | None:
    value: Any = facts.get(name)
    return float(value) if type(value) in (int, float) else None


def _whole(facts: Mapping[str, Any], name: str) -> int | None:
    value = _number(facts, name)
    return None if value is None else int(value)


def _mean(costs: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = [value for each in costs if (value := _number(each, name)) is not None]
    return sum(values) / len(values) if values else None
