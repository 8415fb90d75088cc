"""The board: every table, figure and page is made from this one object, and from nothing else.

Numbers are on the metric's own scale: a metric of unit `fraction` lies in [0, 1] and is shown
in percent. Texts come from records and are not escaped; whoever renders them does that.
Encoders are named by their label, which is unique on a board.
"""

from __future__ import annotations

from dataclasses import dataclass

from omnibench_leaderboard.runs import Exclusion, Setting

SCHEMA = "omnibench.board/2"
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A row: whose parameters these are, and what may be done with them.

    Args:
        label: How tables show it.
        weights: `official`, `file`, `random` or `own`.
        commercial: May its weights be used commercially, None where that is not declared.
    """

    label: str
    name: str
    plugin: str
    weights: str
    weights_sha256: str
    family: str
    licence: str
    commercial: bool | None
    paper: str
    repository: str | None
    revision: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run took; parameters and FLOPs include what the task adds to the encoder.

    Seconds and images a second belong to the machine named by the cell's `device` and `gpu`.
    """

    params_total: int | None
    params_trainable: int | None
    flops_per_image: int | None
    images_per_second: float | None
    seconds: float | None
    peak_memory_bytes: int | None
    gpu: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One encoder beside another on one dataset.

    Args:
        other: Label of the encoder compared with.
        difference: Mean over common seeds, this minus the other.
        interval: 95 %, of the difference; None where it cannot be computed.
        p: Two-sided, uncorrected.
        p_adjusted: Holm's, over a family of `family` tests.
        method: What was computed.
        verdict: `better`, `worse`, `equivalent`, `not separated` or `not testable`.
        within_margin: The interval lies inside the margin of equivalence, whatever the verdict.
        effect: Hedges' g of the paired runs, None without variance between runs.
        detectable: Smallest true difference that this design finds with 80 % power.
        flags: What a reader must know.
    """

    other: str
    difference: float
    interval: Interval | None
    p: float | None
    p_adjusted: float | None
    family: int
    method: str
    verdict: str
    within_margin: bool
    effect: float | None
    detectable: float | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One encoder in one column.

    Args:
        mean: Over seeds.
        sd: Sample standard deviation over seeds, None for one run.
        missing: Seeds that were begun and not finished.
        interval: 95 % of the mean, over seeds and cases; None outside headline columns or
            where it cannot be computed.
        rank: By mean, 1 is best; equal means share it.
        tied: Not separated from the best of the column, so it shares rank 1.
        rank_interval: Ranks that the corrected tests leave open.
        against_best: None for the best itself.
        against_reference: None for the reference itself, or without one.
        evidence: 1 = metrics recomputed from predictions, 2 = also run again by maintainers.
        records: Paths of records inside their results folders.
        command: Makes these records again.
    """

    encoder: str
    mean: float
    sd: float | None
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    missing: tuple[int, ...]
    interval: Interval | None
    rank: int
    tied: bool
    rank_interval: tuple[int, int] | None
    against_best: Comparison | None
    against_reference: Comparison | None
    flags: tuple[str, ...]
    evidence: int
    records: tuple[str, ...]
    command: str
    device: str
    precision: str
    cost: Cost

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.values)


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper prints: hollow, unranked (evidence level 0).

    Args:
        encoder: Name of the card that the paper's row is about.
        metric: Our id of what was printed, empty where it cannot be told apart.
        value: On the scale of the column's metric.
        sd: As printed, likewise.
        reason: Why it is not comparable with the column; empty where it is.
    """

    encoder: str
    source: str
    metric: str
    printed_metric: str
    value: float
    sd: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a table must say about the data."""

    kind: str
    modality: str
    licence: str
    commercial: bool | None
    source_url: str
    citation: str
    content_sha256: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of one dataset under one recipe; never two metrics.

    Args:
        headline: The column that inference is made for; the others show means only, so that
            no table picks the metric in which an encoder happens to lead.
        cases: Number of test cases, 0 where the task stores no ids.
        clusters: Number of patients, scans or articles, None where they are not known.
        margin: Largest difference that counts as none, None where there is none.
        best: Label of the encoder with the best mean.
        notes: What keeps these numbers from being taken at face value.
        cells: Best first; those tied with the best by name.
    """

    setting: Setting
    metric: str
    unit: str
    higher_is_better: bool
    headline: bool
    cases: int
    clusters: int | None
    margin: float | None
    best: str
    dataset: DatasetFacts
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]
    published: tuple[Published, ...] = ()

    @property
    def name(self) -> str:
        """What tells this column from every other."""
        return f"{self.setting.title} · {self.metric}"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One encoder across datasets.

    `first` and the ranks are of a bootstrap over datasets, by mean score.
    """

    encoder: str
    mean: float
    mean_rank: float
    rank: int
    first: float
    rank_low: int
    rank_high: int
    first_by_cases: float | None
    first_by_seeds: float | None


@dataclass(frozen=True, kw_only=True)
class Across:
    """One encoder against the reference across datasets; differences are positive if better.

    Args:
        difference: Mean over datasets, with its t interval; None for a single dataset.
        hodges_lehmann: Median of the Walsh averages of differences.
        method: `wilcoxon`, or `sign-flip` where zeros or ties make the former inexact.
        tost_p: Equivalence of the mean within the datasets' smallest margin.
        probabilities: Worse, practically equal, better (Bayesian signed-rank at that margin).
    """

    encoder: str
    reference: str
    metric: str
    datasets: int
    wins: int
    ties: int
    losses: int
    difference: float | None
    interval: Interval | None
    hodges_lehmann: float
    method: str
    p: float
    p_adjusted: float | None
    family: int
    tost_p: float | None
    probabilities: tuple[float, float, float] | None
    verdict: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Overall:
    """Encoders across the datasets that all of them have.

    Args:
        setting: Task, recipe, tuning and variant; its dataset is empty.
        left_out: Datasets and encoders that are not complete.
        chi2: Friedman's, tie-corrected; None for two encoders.
        f: Iman-Davenport's; None where it is infinite or there is none.
        p: Of f.
        critical_difference: Nemenyi's, of mean ranks.
        labels: Encoders, by name.
        nemenyi: p of all pairs, in the order of `labels`.
        cliques: Encoders no pair of which is separated, in order of mean rank.
        standings: Best mean rank first.
        against: Each encoder against the reference, if one is named.
        winners_without: Who is first by mean after leaving out each dataset in turn.
        tau: Kendall's, between the ranking and its bootstrap over datasets.
    """

    setting: Setting
    metric: str
    unit: str
    higher_is_better: bool
    datasets: tuple[str, ...]
    left_out: tuple[str, ...]
    chi2: float | None
    f: float | None
    p: float | None
    critical_difference: float | None
    labels: tuple[str, ...]
    nemenyi: tuple[tuple[float, ...], ...]
    cliques: tuple[tuple[str, ...], ...]
    standings: tuple[Standing, ...]
    against: tuple[Across, ...]
    winners_without: tuple[tuple[str, ...], ...]
    tau: float | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Methods:
    """How the numbers came about: enough to write the methods section of a paper.

    `texts` are sentences; `flags` explain each code that stands on the board.
    """

    texts: tuple[str, ...]
    flags: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that is said, and everything that was left out."""

    reference: str | None
    encoders: tuple[Encoder, ...]
    columns: tuple[Column, ...]
    overall: tuple[Overall, ...]
    missing: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]
    methods: Methods

    @property
    def headlines(self) -> tuple[Column, ...]:
        """The columns that inference is made for."""
        return tuple(column for column in self.columns if column.headline)
