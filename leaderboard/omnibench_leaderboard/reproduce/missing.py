"""What a run would lack on this machine, found without torch and without the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omnibench import hub
from omnibench.cards import DataAccess, DatasetSpec, EncoderSpec, HubFile, LocalFiles
from omnibench.errors import OmnibenchError
from omnibench.interfaces import NeedsAssets
from omnibench.registry import Registry
from omnibench_leaderboard.reproduce.grid import Job, recipe_of


@dataclass(frozen=True, kw_only=True, order=True)
class Lack:
    """Something a run needs and this machine lacks.

    Args:
        kind: `weights`, `data` or `task`.
        what: Name of the encoder, dataset or task.
        reason: Why, and what to do.
    """

    kind: str
    what: str
    reason: str


@dataclass(frozen=True)
class Machine:
    """Looks for weights and data; each is looked for once.

    Args:
        registry: Offers the cards.
        data_root: Where datasets lie.
    """

    registry: Registry
    data_root: Path
    _known: dict[tuple[str, str, int | None], str] = field(default_factory=dict)

    def lacks(self, job: Job) -> tuple[Lack, ...]:
        """Return everything that keeps a run from starting here and now."""
        return tuple(self._lacks(job))

    def _lacks(self, job: Job) -> Iterator[Lack]:
        key = job.key
        try:
            task, recipe = recipe_of(self.registry, key, job.recipe)
            encoder = self.registry.encoder(key.encoder).card
            dataset = self.registry.dataset(key.dataset).card
        except OmnibenchError as error:
            yield Lack(kind="task", what=key.task, reason=str(error))
            return
        refused = [task.accepts(view, encoder, recipe) for view in (dataset, *dataset.views)]
        if refused[0] and all(refused):
            yield Lack(kind="task", what=key.task, reason=refused[0])
            return
        if reason := _weights(encoder):
            yield Lack(kind="weights", what=encoder.name, reason=reason)
        needed = task.assets(recipe) if isinstance(task, NeedsAssets) else {}
        for name, reason in _assets(needed):
            yield Lack(kind="weights", what=name, reason=reason)
        if reason := self._data(dataset, getattr(recipe, "source_size", None)):
            yield Lack(kind="data", what=dataset.name, reason=reason)

    def _data(self, card: DatasetSpec, size: int | None) -> str:
        size = size if card.sizes else None
        question = ("data", card.name, size)
        if question not in self._known:
            access = DataAccess(root=self.data_root, offline=True, source_size=size)
            try:
                card.open(access)
                self._known[question] = ""
            except OmnibenchError as error:
                self._known[question] = str(error)
        return self._known[question]


def licences(registry: Registry, jobs: Sequence[Job]) -> dict[str, str]:
    """Return the licences to read before use: not commercial, or to be accepted by an account."""
    found: dict[str, str] = {}
    for job in jobs:
        try:
            encoder = registry.encoder(job.key.encoder).card
            dataset = registry.dataset(job.key.dataset).card
        except OmnibenchError:
            continue
        for card in (encoder, dataset):
            told = [card.licence]
            told += ["not for commercial use"] if card.commercial is False else []
            if isinstance(card, EncoderSpec) and card.gated:
                told.append(f"gated: accept it at {card.licence_url or 'its page on the hub'}")
            if len(told) > 1:
                found[card.name] = ", ".join(told)
    return found


def _weights(card: EncoderSpec) -> str:
    if card.end_to_end or card.source is None:
        return ""
    return _absent(card.source)


def _assets(needed: Mapping[str, HubFile | LocalFiles]) -> Iterator[tuple[str, str]]:
    for wanted in needed.values():
        if isinstance(wanted, HubFile) and (reason := _absent(wanted)):
            yield wanted.repo, reason


def _absent(source: HubFile) -> str:
    names = (source.filename, *source.companions)
    absent = [name for name in names if hub.cached(source, name, source.revision) is None]
    if not absent:
        return ""
    return (
        f"{' '.join(absent)} of {source.repo} is not in the hub's cache; `hf download {source.repo} "
        f"{' '.join(names)}` or the first run fetches it"
    )
