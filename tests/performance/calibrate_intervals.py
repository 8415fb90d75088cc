"""Does the default interval cover, and do Holm's verdicts err no more than they may?

    nice -n 10 python tests/performance/calibrate_intervals.py

Simulates runs with known truth and asks the leaderboard's own functions. A case has a difficulty that
all encoders share, one of its own for every encoder, and one of its cluster; a run has a level and
a noise a case. Prints Markdown tables with Monte-Carlo errors; exits 1 if a coverage lies outside
[0.92, 0.98] or a family-wise error above 0.06 by more than two of them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from omnibench_leaderboard.stats.bootstrap import RESAMPLES
from omnibench_leaderboard.stats.cells import Cases, Cell
from omnibench_leaderboard.stats.classification import from_scores
from omnibench_leaderboard.stats.flags import Verdict
from omnibench_leaderboard.stats.panel import Panel

CLASSES = 3
SHARES = (0.5, 0.3, 0.2)  # of the classes, unbalanced
BAND = (0.92, 0.98)
FAMILY_ERROR = 0.06
TRUTH_SEEDS, TRUTH_CASES = 1_000, 5_000


@dataclass(frozen=True, kw_only=True)
class Design:
    """One row of the table.

    Args:
        metric: `accuracy` or `f1_macro`.
        cases: Test cases N.
        seeds: Seeds S.
        seed_noise: SD of a run's level, on the scale of scores.
        gain: Level of the first encoder above the others.
        clusters: Number of clusters, 0 for independent cases.
        repetitions: Simulated tables.
    """

    metric: str
    cases: int
    seeds: int
    seed_noise: float
    repetitions: int
    gain: float = 0.0
    clusters: int = 0


def simulate(
    design: Design, encoders: int, cases: int, seeds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None, list[list[np.ndarray]]]:
    """Return labels [N], clusters [N] or None, and scores [N, C] by encoder and seed."""
    labels = rng.choice(CLASSES, size=cases, p=SHARES)
    groups = rng.integers(design.clusters, size=cases) if design.clusters else None
    shared = rng.normal(size=(cases, 1))
    if groups is not None:
        # All cases of a cluster share part of their difficulty, also what is the encoder's own.
        shared = 0.7 * shared + 0.7 * rng.normal(size=(design.clusters, 1))[groups]
    right = np.eye(CLASSES)[labels]
    scores = []
    for encoder in range(encoders):
        own = 0.5 * rng.normal(size=(cases, 1))
        if groups is not None:
            own = own + 0.5 * rng.normal(size=(design.clusters, 1))[groups]
        level = 1.5 + (design.gain if encoder == 0 else 0.0)
        levels = level + design.seed_noise * rng.normal(size=seeds)
        scores.append(
            [right * (x + shared + own) + 0.7 * rng.normal(size=(cases, CLASSES)) for x in levels]
        )
    return labels, groups, scores


def panel(design: Design, encoders: int, resamples: int, rng: np.random.Generator) -> Panel:
    """Return one simulated table."""
    labels, groups, scores = simulate(design, encoders, design.cases, design.seeds, rng)
    cells = []
    for index, runs in enumerate(scores):
        statistic = from_scores(design.metric, runs, labels)
        assert statistic is not None
        seeds = tuple(range(design.seeds))
        cells.append(Cell(encoder=f"e{index}", seeds=seeds, statistic=statistic))
    # Ids that no other repetition has, so that every one draws its own resamples.
    ids = np.arange(design.cases) + int(rng.integers(1 << 40))
    return Panel(design.metric, cells, Cases.of(ids, groups), resamples=resamples)


def truth(design: Design, rng: np.random.Generator) -> float:
    """Return the difference over all seeds and cases: exactly 0 without a gain."""
    if not design.gain:
        return 0.0
    differences = []
    for _ in range(TRUTH_SEEDS // 10):
        labels, _, scores = simulate(design, 2, TRUTH_CASES, 10, rng)
        found = [from_scores(design.metric, runs, labels) for runs in scores]
        first, second = (f.values() for f in found if f is not None)
        differences.append(float((first - second).mean()))
    return float(np.mean(differences))


def coverage(design: Design, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return how often the interval holds the truth, and its mean width."""
    true = truth(design, rng)
    hits, widths = 0, []
    for _ in range(design.repetitions):
        row = panel(design, 2, resamples, rng).against("e1")[0]
        assert row.interval is not None
        hits += row.interval[0] <= true <= row.interval[1]
        widths.append(row.interval[1] - row.interval[0])
    return hits / design.repetitions, float(np.mean(widths))


def family_error(design: Design, encoders: int, resamples: int, rng: np.random.Generator) -> float:
    """Return how often Holm's family of equal encoders holds a verdict better or worse."""
    wrong = 0
    for _ in range(design.repetitions):
        rows = panel(design, encoders, resamples, rng).against("e0")
        wrong += any(row.verdict in (Verdict.BETTER, Verdict.WORSE) for row in rows)
    return wrong / design.repetitions


def designs(scale: float) -> Iterator[Design]:
    """Yield the specification's designs, then clusters and true differences."""
    many, few = round(1000 * scale), round(400 * scale)
    for cases, seeds, noise in (
        (156, 5, 0.2),
        (156, 5, 0.0),
        (156, 3, 0.2),
        (156, 10, 0.2),
        (624, 5, 0.2),
        (2000, 5, 0.2),
    ):
        yield Design(
            metric="accuracy", cases=cases, seeds=seeds, seed_noise=noise, repetitions=many
        )
    for cases, noise in ((156, 0.2), (156, 0.0), (624, 0.2), (2000, 0.2)):
        reps = few if cases < 2000 else few // 2
        yield Design(metric="f1_macro", cases=cases, seeds=5, seed_noise=noise, repetitions=reps)
    for metric, reps in (("accuracy", many), ("f1_macro", few)):
        for gain, clusters in ((0.2, 0), (0.0, 60), (0.2, 60), (0.2, 20)):
            yield Design(
                metric=metric,
                cases=600,
                seeds=5,
                seed_noise=0.2,
                gain=gain,
                clusters=clusters,
                repetitions=reps,
            )


def families(scale: float) -> Iterator[Design]:
    """Yield families of equal encoders: cases, clusters or seeds the larger part of the noise."""
    for metric, seeds, noise, clusters, reps in (
        ("accuracy", 5, 0.0, 0, 1000),
        ("accuracy", 5, 0.2, 0, 2000),
        ("accuracy", 5, 0.5, 0, 1000),
        ("accuracy", 5, 0.2, 60, 1000),
        ("accuracy", 3, 0.2, 0, 1000),
        ("accuracy", 10, 0.2, 0, 1000),
        ("f1_macro", 5, 0.2, 0, 400),
    ):
        yield Design(
            metric=metric,
            cases=300,
            seeds=seeds,
            seed_noise=noise,
            clusters=clusters,
            repetitions=round(reps * scale),
        )


def interval_table(scale: float, seed: int, resamples: int) -> bool:
    """Print the coverage of intervals; tell whether all lie in the band."""
    good = True
    print("| metric | cases | clusters | seeds | seed SD | true difference | coverage | ± s.e. |")
    print("|---|---:|---:|---:|---:|---|---:|---:|")
    for index, design in enumerate(designs(scale)):
        share, width = coverage(design, resamples, np.random.default_rng([seed, index]))
        error = math.sqrt(share * (1 - share) / design.repetitions)
        good &= BAND[0] - 2 * error <= share <= BAND[1] + 2 * error
        print(
            f"| {design.metric} | {design.cases} | {design.clusters or '-'} | {design.seeds} "
            f"| {design.seed_noise} | {'yes' if design.gain else 'none'} (width {width:.3f}) "
            f"| {share:.3f} | {error:.3f} |",
            flush=True,
        )
    return good


def family_table(scale: float, seed: int, resamples: int) -> bool:
    """Print the family-wise errors of Holm's verdicts; tell whether none is too large."""
    good = True
    print("| Holm over | metric | cases | clusters | seeds | seed SD | error | ± s.e. |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for index, design in enumerate(families(scale)):
        rng = np.random.default_rng([seed, 100 + index])
        share, reps = family_error(design, 6, resamples, rng), design.repetitions
        error = math.sqrt(max(share * (1 - share), 1 / reps) / reps)
        good &= share <= FAMILY_ERROR + 2 * error
        print(
            f"| 5 of 6 equal | {design.metric} | {design.cases} | {design.clusters or '-'} "
            f"| {design.seeds} | {design.seed_noise} | {share:.3f} | {error:.3f} |",
            flush=True,
        )
    return good


def main() -> int:
    """Print the tables asked for; return 1 if anything lies outside its band."""
    tables = {"intervals": interval_table, "families": family_table}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=list(tables), default=list(tables))
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on repetitions")
    parser.add_argument("--resamples", type=int, default=500, help=f"default: 500 of {RESAMPLES}")
    options = parser.parse_args()
    started = time.process_time()
    arguments = (options.scale, options.seed, options.resamples)
    good = [tables[name](*arguments) for name in options.tables]
    seconds = time.process_time() - started
    print(f"\nseed {options.seed}, {options.resamples} resamples, {seconds:.0f} CPU seconds")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
