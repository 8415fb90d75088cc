"""A published study as cells that can be run: from printed values to `omnibench run`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from omnibench.cards import PublishedValue
from omnibench.errors import UsageError, suggestion
from omnibench.interfaces import Task
from omnibench.registry import Registry


class Key(NamedTuple):
    """What a cell of the grid is; `variant` is one of a run's several outcomes."""

    encoder: str
    task: str
    dataset: str
    tuning: str
    variant: str

    @property
    def title(self) -> str:
        """One line that names it."""
        return " · ".join(part for part in self if part)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything that is printed for one encoder, task, dataset, tuning and variant."""

    key: Key
    values: tuple[PublishedValue, ...]

    @property
    def tables(self) -> tuple[int, ...]:
        """Tables of the paper that print it."""
        return tuple(sorted({value.table for value in self.values}))

    @property
    def recipe(self) -> str:
        """The recipe that is run: the first that follows the printed protocol."""
        return self.values[0].recipes[0]

    @property
    def reason(self) -> str:
        """Why no run can be compared with it, or an empty text."""
        reasons = {value.reason for value in self.values}
        return reasons.pop() if len(reasons) == 1 else ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One `omnibench run`: cells that differ in their variant only."""

    cells: tuple[Cell, ...]
    seeds: int

    @property
    def key(self) -> Key:
        """Key of the first cell; the variant says nothing."""
        return self.cells[0].key

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.cells[0].recipe

    @property
    def needless(self) -> bool:
        """Nothing that is printed for its cells can be compared with any run."""
        return all(cell.reason for cell in self.cells)

    @property
    def arguments(self) -> list[str]:
        """What `omnibench run` is told, but for options of the machine."""
        key = self.key
        told = ["--encoder", key.encoder, "--task", key.task, "--dataset", key.dataset]
        told += ["--recipe", self.recipe]
        told += ["--tuning", key.tuning] if key.tuning else []
        return [*told, "--seeds", str(self.seeds)]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's printed numbers.

    Args:
        name: As typed.
        origin: Distribution that brings it; its encoders and datasets are meant.
        values: Every printed number of the chosen tables.
        whole: Every printed number.
    """

    name: str
    origin: str
    values: tuple[PublishedValue, ...]
    whole: tuple[PublishedValue, ...]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Cells that runs fill, those from which chosen tables are derived among them."""
        chosen = {key_of(value) for value in self.values if _is_run(value)}
        # A pooled value needs the same encoder on every dataset, whatever table prints them.
        pools = [value for value in self.values if value.pooled]
        chosen |= {
            key_of(value)
            for value in self.whole
            if _is_run(value) and any(_feeds(value, pool) for pool in pools)
        }
        found: dict[Key, list[PublishedValue]] = defaultdict(list)
        for value in self.whole:
            if _is_run(value) and key_of(value) in chosen:
                found[key_of(value)].append(value)
        return tuple(Cell(key=key, values=tuple(values)) for key, values in found.items())

    def jobs(self, registry: Registry, seeds: int | None) -> tuple[Job, ...]:
        """Return the runs that fill the cells.

        Args:
            registry: Offers the tasks, whose recipes say how many seeds they run.
            seeds: How many are wanted; None for as many as the recipe says.
        """
        found: dict[tuple[Key, str], list[Cell]] = defaultdict(list)
        for cell in self.cells:
            found[cell.key._replace(variant=""), cell.recipe].append(cell)
        return tuple(
            Job(cells=tuple(cells), seeds=_seeds(registry, key, name, seeds))
            for (key, name), cells in found.items()
        )


def find(registry: Registry, name: str, tables: Sequence[int] = ()) -> Study:
    """Return a study, or those of its values that some of its tables print.

    Raises:
        UsageError: If no plugin brings the study, or it has no such table.
    """
    offers = [offer for offer in registry.published() if offer.card.study]
    names = sorted({offer.card.study for offer in offers})
    mine = [offer for offer in offers if offer.card.study == name]
    if not mine:
        known = f"known: {', '.join(names)}" if names else "no plugin brings one"
        raise UsageError(f"there is no study {name!r}.{suggestion(name, names)} {known}")
    origins = sorted({offer.plugin.distribution for offer in mine})
    if len(origins) > 1:
        raise UsageError(f"study {name!r} is brought by {' and by '.join(origins)}; remove one")
    whole = tuple(offer.card for offer in mine)
    printed = sorted({value.table for value in whole})
    if unknown := sorted(set(tables) - set(printed)):
        raise UsageError(
            f"study {name!r} has no numbers in table {', '.join(map(str, unknown))}; it has "
            f"tables {', '.join(map(str, printed))}"
        )
    values = tuple(value for value in whole if not tables or value.table in tables)
    return Study(name=name, origin=origins[0], values=values, whole=whole)


def key_of(value: PublishedValue) -> Key:
    """Return the cell that a printed number belongs to."""
    return Key(value.encoder, value.task, value.dataset, value.tuning, value.variant)


def recipe_of(registry: Registry, key: Key, name: str) -> tuple[Task, Any]:
    """Return the task of a cell, and the recipe under the cell's tuning."""
    task = registry.task(key.task).card
    return task, task.recipe(name, key.tuning or None)


def _seeds(registry: Registry, key: Key, name: str, asked: int | None) -> int:
    task, recipe = recipe_of(registry, key, name)
    return (asked or int(recipe.seeds)) if task.stochastic(recipe) else 1


def _is_run(value: PublishedValue) -> bool:
    return bool(value.task) and not value.pooled


def _feeds(value: PublishedValue, pool: PublishedValue) -> bool:
    same = (value.encoder, value.task) == (pool.encoder, pool.task)
    return same and value.dataset in pool.pooled
