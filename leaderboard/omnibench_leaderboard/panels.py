"""What statistics see of a collection: per setting and metric, rows of runs and their panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from omnibench.registry import Registry
from omnibench_leaderboard import judge, recipes, seeds_only
from omnibench_leaderboard.cases import panel_of
from omnibench_leaderboard.runs import Collection, EncoderKey, Exclusion, Run, Setting
from omnibench_leaderboard.stats.panel import Panel

Rows = Mapping[str, Sequence[Run]]


class Panels:
    """Makes panels when first asked for, and keeps them.

    Args:
        collection: Runs that may enter.
        registry: Offers the tasks that know headline metrics.
        metric: Take this metric as headline where a setting has it, in place of the task's own.
    """

    def __init__(
        self, collection: Collection, registry: Registry, metric: str | None = None
    ) -> None:
        self.collection = collection
        self.registry = registry
        self.metric = metric
        self._panels: dict[tuple[Setting, str, tuple[str, ...]], Panel | None] = {}

    @cached_property
    def settings(self) -> Mapping[Setting, Mapping[str, Sequence[Run]]]:
        """Every setting's runs, by label; settings in order, encoders by name."""
        found: dict[Setting, dict[str, Sequence[Run]]] = {}
        for (setting, encoder), runs in self.collection.cells.items():
            found.setdefault(setting, {})[self.collection.labels[encoder]] = runs
        return {setting: dict(sorted(found[setting].items())) for setting in sorted(found)}

    def metrics(self, setting: Setting) -> list[str]:
        """Return the ids of a setting's metrics, the headline first."""
        runs = [run for cell in self.settings[setting].values() for run in cell]
        names = sorted({name for run in runs for name in run.record.metrics})
        asked = [n for n in names if self.metric in (n, n.partition("@")[0])]
        chosen = asked[0] if asked else recipes.headline(self.registry, runs)
        return sorted(names, key=lambda name: (name != chosen, name))

    def rows(self, setting: Setting, metric: str) -> Rows:
        """Return the runs of every encoder that has the metric in all of them."""
        return {
            label: runs
            for label, runs in self.settings[setting].items()
            if all(metric in run.record.metrics for run in runs)
        }

    def partial(self, setting: Setting, metric: str) -> list[Exclusion]:
        """Name the cells that have the metric in some runs only."""
        out = []
        for label, runs in self.settings[setting].items():
            have = sum(metric in run.record.metrics for run in runs)
            if 0 < have < len(runs):
                out.append(
                    Exclusion(
                        what=f"{label} · {setting.title} · {metric}",
                        kind="metric",
                        reason=f"only {have} of {len(runs)} runs have this metric",
                    )
                )
        return out

    def failed(self, setting: Setting, label: str) -> tuple[int, ...]:
        """Return the seeds of a cell that were begun and not finished."""
        runs = self.settings[setting][label]
        encoder: EncoderKey = runs[0].encoder
        # A failed run never came to its variants: it is missing in each of them.
        settings = (setting, replace(setting, variant=""))
        begun = {
            item.seed
            for item in self.collection.missing
            if item.setting in settings and item.encoder == encoder
        }
        return tuple(sorted(begun - {run.seed for run in runs}))

    def panel(
        self, setting: Setting, metric: str, labels: Sequence[str] | None = None
    ) -> Panel | None:
        """Return what statistics resample, None where the metric has no form a case.

        `labels` chooses encoders; a pair needs no predictions of others.
        """
        rows = self.rows(setting, metric)
        chosen = tuple(label for label in rows if labels is None or label in labels)
        key = (setting, metric, chosen)
        if key not in self._panels:
            self._panels[key] = panel_of(
                {label: rows[label] for label in chosen},
                metric,
                failed={label: self.failed(setting, label) for label in chosen},
                deterministic=self._deterministic(rows),
            )
        return self._panels[key]

    def findings(
        self,
        setting: Setting,
        metric: str,
        reference: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> judge.Findings:
        """Return what statistics find in a column, or in some encoders of it."""
        panel = self.panel(setting, metric, labels)
        if panel is not None:
            return judge.from_panel(panel, reference)
        rows = self.rows(setting, metric)
        deterministic = self._deterministic(rows)
        cells = {
            label: seeds_only.SeedValues(
                values={run.seed: run.record.metrics[metric]["value"] for run in runs},
                failed=self.failed(setting, label),
                deterministic=deterministic,
            )
            for label, runs in rows.items()
            if labels is None or label in labels
        }
        return judge.from_seeds(cells, is_higher_better(rows, metric), reference)

    def _deterministic(self, rows: Rows) -> bool:
        first = next(iter(rows.values()))[0]
        return recipes.is_deterministic(self.registry, first.record)


def is_higher_better(rows: Rows, metric: str) -> bool:
    """Return the direction of a metric."""
    first = next(iter(rows.values()))[0]
    return bool(first.record.metrics[metric].get("higher_is_better", True))
