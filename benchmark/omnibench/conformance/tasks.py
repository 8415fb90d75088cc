"""What every task must do, shown by tiny runs on made-up images."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from omnibench.cards import DataAccess, DatasetKind, DatasetSpec, EncoderSpec, Precision, check_name
from omnibench.conformance import specimens
from omnibench.conformance.findings import Checks, Finding, NotApplicable, conclude
from omnibench.conformance.torchless import NOT_IMPORTABLE
from omnibench.errors import OmnibenchError, UsageError
from omnibench.features.frozen import fingerprint
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import Dataset, Metric, NeedsAssets, Outcome, RunContext, Task
from omnibench.recipe import override
from omnibench.store import Store

REQUIRED = ("normalization", "pool", "seeds")  # fields of every recipe
# What makes any recipe's run tiny, where it has such a field.
TINY = {"epochs": "1", "image_size": "64", "batch_size": "4"}
PNG = b"\x89PNG\r\n\x1a\n"
PATIENCE = 120  # seconds for the process without torch


def check_task(
    task: Task,
    *,
    recipe: Any = None,
    dataset: DatasetSpec | None = None,
    encoder: EncoderSpec | None = None,
    plugins: Sequence[Path] = (),
) -> Iterator[Finding]:
    """Check a task against its contract, by three tiny runs.

    Args:
        task: The task.
        recipe: Of the runs; by default `quick`, or the task's first, with one epoch of small
            images.
        dataset: Card of a dataset that opens without files; by default made-up discs of the
            first kind that the task accepts.
        encoder: Card of an encoder with its own parameters; by default a made-up transformer.
        plugins: Plugin files that the task comes from.

    Yields:
        One finding a check, as soon as it is known.
    """
    subject = Subject(task, recipe, dataset, encoder or specimens.encoder_card(), plugins)
    yield from conclude(f"task {task.name}", subject, CHECKS)


def tiny_recipe(task: Task, settings: Mapping[str, str]) -> Any:
    """Return a recipe whose runs are over in seconds, with some fields set by hand.

    Args:
        task: Whose recipe `quick`, or else first, it is.
        settings: Fields as `--set` names them.
    """
    named = task.recipe("quick" if "quick" in task.recipes else task.recipes[0])
    fields = {f.name for f in dataclasses.fields(named)}
    return override(named, {k: v for k, v in TINY.items() if k in fields} | dict(settings))


class Subject:
    """A task under check; runs are made when first asked for."""

    def __init__(
        self,
        task: Task,
        recipe: Any,
        dataset: DatasetSpec | None,
        encoder: EncoderSpec,
        plugins: Sequence[Path],
    ) -> None:
        self.task, self.encoder, self.plugins = task, encoder, plugins
        self.given, self.dataset_given = recipe, dataset
        self.handle = self._fresh_handle()

    @cached_property
    def recipe(self) -> Any:
        """The recipe of the runs."""
        return tiny_recipe(self.task, {}) if self.given is None else self.given

    @cached_property
    def card(self) -> DatasetSpec:
        """The card of what is run on."""
        kinds = get_args(DatasetKind)
        cards = [self.dataset_given] if self.dataset_given else map(specimens.dataset_card, kinds)
        reasons = []
        for card in cards:
            reason = self.task.accepts(card, self.encoder, self.recipe)
            if reason is None:
                return card
            reasons.append(str(reason))
        raise UsageError(f"it accepts nothing to run on: {'; '.join(reasons)}")

    @cached_property
    def dataset(self) -> Dataset:
        """What is run on, opened."""
        return self.card.open(DataAccess(root=Path("data"), offline=True))

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Those of seed 0."""
        return self._run(self.handle, 0)

    @cached_property
    def again(self) -> list[Outcome]:
        """Those of seed 0 from another handle."""
        return self._run(self._fresh_handle(), 0)

    @cached_property
    def other(self) -> list[Outcome]:
        """Those of seed 1."""
        return self._run(self._fresh_handle(), 1)

    def metrics(self) -> list[list[Metric]]:
        """Score every outcome's test split anew."""
        return [list(self.task.score(o.predictions, "test")) for o in self.outcomes]

    def _run(self, handle: EncoderHandle, seed: int) -> list[Outcome]:
        needed = self.task.assets(self.recipe) if isinstance(self.task, NeedsAssets) else {}
        if needed:
            raise NotApplicable(f"it needs files for {', '.join(needed)}; give a recipe without")
        precision = self.task.precision("fp32", self.recipe)
        context = RunContext(seed=seed, precision=precision)
        return list(self.task.run(handle, self.dataset, self.recipe, context))

    def _fresh_handle(self) -> EncoderHandle:
        choice = WeightsChoice(kind="own")
        return EncoderHandle(card=self.encoder, weights=choice, label=self.encoder.name)


def _card(subject: Subject) -> str | None:
    task = subject.task
    check_name(task.name, "task")
    if type(task.version) is not int or task.version < 1:
        return f"its version is {task.version!r}; give a whole number from 1"
    if not task.recipes or len(set(task.recipes)) < len(task.recipes):
        return f"its recipes are {task.recipes}; name at least one, each once"
    if not task.summary:
        return "its summary is empty; `omnibench list tasks` shows it"
    precision = task.precision("fp32", subject.recipe)
    if precision not in get_args(Precision):
        return f"precision() returns {precision!r}; return one of {', '.join(get_args(Precision))}"
    return None


def _recipes(subject: Subject) -> str | None:
    for name in subject.task.recipes:
        for tuning in subject.task.tunings or (None,):
            try:
                recipe = subject.task.recipe(name, tuning)
            except OmnibenchError:
                continue  # not every recipe has every tuning
            if fault := _recipe_fault(recipe):
                return f"recipe {name!r}: {fault}"
    return None


def _recipe_fault(recipe: Any) -> str | None:
    made_of: Any = type(recipe)
    if not dataclasses.is_dataclass(recipe) or not made_of.__dataclass_params__.frozen:
        return f"it is a {made_of.__name__}; make it a frozen dataclass"
    values = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    lacking = [name for name in REQUIRED if name not in values]
    if lacking:
        return f"it lacks the fields {', '.join(lacking)}"
    for name, value in values.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if override(recipe, {name: text}) != recipe:
            return f"--set {name}={text} does not give the value it has; annotate it plainly"
    return None


def _accepts(subject: Subject) -> str | None:
    for kind in get_args(DatasetKind):
        reason = subject.task.accepts(specimens.dataset_card(kind), subject.encoder, subject.recipe)
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            return f"of {kind} it says {reason!r}; return None or the reason in words"
    _ = subject.card
    return None


def _variants(subject: Subject) -> str | None:
    found = tuple(outcome.variant for outcome in subject.outcomes)
    stated = tuple(subject.task.variants(subject.recipe))
    return None if found == stated else f"variants() promises {stated}, run() yields {found}"


def _predictions(subject: Subject) -> str | None:
    for outcome in subject.outcomes:
        Store.prepare(outcome.predictions)  # raises for object arrays and values not finite
        for name in ("test", "val"):
            ids = outcome.predictions.get(f"{name}_id")
            if ids is None and name == "val":
                continue
            if ids is None or ids.tolist() != subject.dataset.split(name).ids.tolist():
                return f"predictions need {name}_id, the ids of the whole split in its order"
    return None


def _costs(subject: Subject) -> str | None:
    for outcome in subject.outcomes:
        total, trained = outcome.params_total, outcome.params_trainable
        if not 0 <= trained <= total or not total:
            return f"it reports {trained} trainable of {total} parameters; count both"
    return None


def _metrics(subject: Subject) -> str | None:
    found, again = subject.metrics(), subject.metrics()
    if [_values(m) for m in found] != [_values(m) for m in again]:
        return "scored twice, the same predictions give other metrics"
    headline = subject.task.headline(subject.recipe)
    for metrics in found:
        ids = [metric.id for metric in metrics]
        if headline not in ids or len(set(ids)) < len(ids):
            return f"score() gives {ids}; each once, and the headline {headline!r} among them"
        wrong = [metric.id for metric in metrics if not math.isfinite(metric.value)]
        if wrong:
            return f"{', '.join(wrong)} are not finite; leave out what is not defined"
    return None


def _torchless(subject: Subject) -> str | None:
    predictions = [dict(outcome.predictions) for outcome in subject.outcomes]
    # Cards without functions: what they would build or open must not be imported.
    nothing: Any = print
    dataset = dataclasses.replace(subject.card, open=nothing, views=())
    encoder = dataclasses.replace(subject.encoder, build=nothing)
    try:
        packed = pickle.dumps((subject.task, dataset, encoder, subject.recipe, predictions))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise NotApplicable(f"it cannot be handed to another process: {error}") from None
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("torchless.py"))],
        input=pickle.dumps((list(subject.plugins), packed)),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode == NOT_IMPORTABLE:
        raise NotApplicable(f"a fresh process cannot import it: {last}")
    if done.returncode:
        return f"in a fresh process it fails: {last}"
    told = json.loads(done.stdout)
    if told["torch"]:
        return f"{told['torch'][0]} imports torch; import it inside run()"
    if told["reason"] is not None:
        return f"in a fresh process accepts() says {told['reason']!r}"
    here = [pair for metrics in subject.metrics() for pair in _values(metrics)]
    if [tuple(pair) for pair in told["metrics"]] == here:
        return None
    return "in a fresh process score() gives other metrics; it must use the predictions alone"


def _same_seed(subject: Subject) -> str | None:
    if _bytes(subject.outcomes) == _bytes(subject.again):
        return None
    return "two runs of one seed differ; draw only what the seed decides (omnibench.seeding)"


def _other_seed(subject: Subject) -> str | None:
    # Tiny runs may predict one class, whatever the seed; what they trained then tells.
    differ = _trained(subject.outcomes) != _trained(subject.other)
    differ |= _bytes(subject.outcomes) != _bytes(subject.other)
    if differ == subject.task.stochastic(subject.recipe):
        return None
    if differ:
        return "stochastic() says no, yet another seed gives other predictions"
    return "stochastic() says yes, yet another seed gives the same predictions"


def _encoder_kept(subject: Subject) -> str | None:
    _ = subject.outcomes
    subject.handle.require_unchanged()
    left = subject.handle.build(normalization="own", pool="checkpoint")
    fresh = subject.handle.built_anew().configure(normalization="own", pool="checkpoint")
    if fingerprint(left) == fingerprint(fresh):
        return None
    return "a run changes the encoder that later seeds are given; change only what build() returns"


def _picture(subject: Subject) -> str | None:
    for outcome in subject.outcomes:
        drawn = subject.task.draw(subject.dataset, outcome.predictions, "a title")
        if drawn is not None and not drawn.startswith(PNG):
            return f"draw() returns {type(drawn).__name__} {drawn[:8]!r}; return a PNG or None"
    return None


def _values(metrics: Sequence[Metric]) -> list[tuple[str, float]]:
    return [(metric.id, metric.value) for metric in metrics]


def _bytes(outcomes: Sequence[Outcome]) -> list[Mapping[str, Any]]:
    return [Store.prepare(outcome.predictions) for outcome in outcomes]


def _trained(outcomes: Sequence[Outcome]) -> list[Mapping[str, Any]]:
    return [Store.prepare_weights(outcome.weights) for outcome in outcomes if outcome.weights]


Check = Callable[[Subject], str | None]
CHECKS: Checks[Subject] = {
    "its card is complete": _card,
    "its recipes can be changed field by field": _recipes,
    "it says in words what it refuses": _accepts,
    "a run yields the variants it promises": _variants,
    "predictions are plain arrays with ids": _predictions,
    "it counts its parameters": _costs,
    "metrics are finite and follow from predictions": _metrics,
    "accepting and scoring need no torch": _torchless,
    "one seed gives the same bytes twice": _same_seed,
    "another seed gives other bytes, where it says so": _other_seed,
    "it leaves the encoder as it is": _encoder_kept,
    "it draws a PNG or nothing": _picture,
}
