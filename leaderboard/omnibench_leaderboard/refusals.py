"""Which runs may not stand beside others, and why: repeats, copies, mixtures.

Every rule takes runs and returns those that stay and an `Exclusion` for each of the others.
None depends on the order in which files were read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from omnibench.recipe import digest
from omnibench.rescoring import TOLERANCE
from omnibench_leaderboard.runs import EncoderKey, Exclusion, Run

INTEGRITY = 4
Sifted = tuple[list[Run], list[Exclusion]]


def without_repeats(runs: Sequence[Run]) -> Sifted:
    """Keep the earliest of several records of one run id (statistics.md 3.2)."""
    kept, left = [], []
    for group in _grouped(runs, lambda r: r.run_id):
        first, *others = sorted(group, key=lambda r: (str(r.record.timing.get("ended")), r.sha256))
        kept.append(first)
        for run in others:
            same = _agree(run, first)
            found = "with equal metrics" if same else "REPLICATES DIFFER: with other metrics"
            left.append(_left(run, "repeated", f"the same run was made before, {found}"))
    return kept, left


def without_idle_seeds(runs: Sequence[Run]) -> Sifted:
    """Keep one of the seeds of a cell whose predictions are equal: the seed had no effect."""
    kept, left = [], []
    for group in _grouped(runs, lambda r: (r.setting, r.encoder, r.evidence.content)):
        first, *others = sorted(group, key=lambda r: (r.seed, r.sha256))
        kept.append(first)
        for run in others:
            reason = (
                f"its predictions are those of seed {first.seed}, so it is no second run: copied, "
                "or the seed has no effect"
            )
            left.append(_left(run, "copied", reason, INTEGRITY))
    return kept, left


def without_copies(runs: Sequence[Run]) -> Sifted:
    """Leave out equal predictions under two encoders; whose they are cannot be known.

    Equal weights under two names are the same encoder, and constant predictions are nobody's.
    """
    kept, left = [], []
    for group in _grouped(runs, lambda r: (r.setting, r.evidence.content)):
        if len({_parameters(run.encoder) for run in group}) == 1 or group[0].evidence.constant:
            kept += group
            continue
        names = sorted({run.record.label for run in group})
        for run in group:
            others = (
                ", ".join(name for name in names if name != run.record.label) or "other weights"
            )
            reason = f"equal predictions stand under {others}: one was copied, neither is shown"
            left.append(_left(run, "copied", reason, INTEGRITY))
    return kept, left


def one_protocol(runs: Sequence[Run]) -> Sifted:
    """Keep, of one setting, the data and the protocol that most runs have."""
    return _majority(runs, lambda r: r.setting, _protocol, "of this column", "")


def one_truth(runs: Sequence[Run]) -> Sifted:
    """Keep, of one setting, the test cases and labels that most runs have."""
    return _majority(
        runs,
        lambda r: r.setting,
        lambda r: {"test cases or labels": r.evidence.truth},
        "of this column, of the same dataset digest",
        "",
        INTEGRITY,
    )


def one_code(runs: Sequence[Run]) -> Sifted:
    """Keep, of one cell, the code, packages, precision and device type that most seeds have."""
    return _majority(
        runs,
        lambda r: (r.setting, r.encoder),
        lambda r: {
            **r.record.software,
            "precision": r.record.identity["precision"],
            "device": r.record.identity["device"],
        },
        "of this cell",
        " (MIXED_CODE); run its seeds again with one",
    )


def _protocol(run: Run) -> dict[str, str]:
    """Return everything of the identity that encoder, seed and machine do not explain."""
    identity = run.record.identity
    told = {"encoder", "seed", "device", "precision", "schema", "tuning", "dataset", "task"}
    dataset, task = identity["dataset"], identity["task"]
    return {
        "dataset digest": dataset["content_sha256"],
        "dataset's plugin": dataset["plugin"],
        "task version": str(task["version"]),
        "task's plugin": f"{task['plugin']} {task.get('plugin_version', '')}".strip(),
        "protocol digest": task["protocol_sha256"],
        "further settings": digest({k: v for k, v in identity.items() if k not in told}),
    }


def _majority(
    runs: Sequence[Run],
    group_of: Callable[[Run], Hashable],
    facts_of: Callable[[Run], dict[str, str]],
    where: str,
    advice: str,
    exit_code: int = 0,
) -> Sifted:
    """Keep the facts of most runs of each group; the latest of equally many.

    A mixture is a fault of no record by itself, so `verify` passes over it unless an exit
    code says otherwise.
    """
    kept, left = [], []
    for group in _grouped(runs, group_of):
        parties = list(_grouped(group, lambda r: tuple(facts_of(r).values())))
        best = max(parties, key=_weight)
        kept += best
        chosen = facts_of(best[0])
        for run in (run for party in parties if party is not best for run in party):
            mine = facts_of(run)
            differing = ", ".join(
                f"{name} {_short(mine[name])} (kept: {_short(chosen[name])})"
                for name in mine
                if mine[name] != chosen[name]
            )
            reason = f"other {differing} than the {len(best)} runs kept {where}{advice}"
            left.append(_left(run, "mixed", reason, exit_code))
    return kept, left


def _weight(party: list[Run]) -> tuple[int, str, str]:
    latest = max(str(run.record.timing.get("ended")) for run in party)
    return len(party), latest, min(run.sha256 for run in party)


def _grouped(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> Iterable[list[Run]]:
    groups: dict[Any, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda r: r.sha256):
        groups[key(run)].append(run)
    return groups.values()


def _left(run: Run, kind: str, reason: str, exit_code: int = 0) -> Exclusion:
    return Exclusion(what=run.title, kind=kind, reason=reason, path=run.place, exit_code=exit_code)


def _parameters(encoder: EncoderKey) -> str:
    """Return what tells parameters apart, whatever name they go by."""
    told = (encoder.name, encoder.plugin, encoder.plugin_version)
    return encoder.weights_sha256 or " ".join(told)


def _agree(run: Run, other: Run) -> bool:
    mine, theirs = run.record.metrics, other.record.metrics
    return set(mine) == set(theirs) and all(
        abs(mine[name]["value"] - theirs[name]["value"]) <= TOLERANCE for name in mine
    )


def _short(text: str) -> str:
    return f"{text[:8]}…" if len(text) == 64 else text
