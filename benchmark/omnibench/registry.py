"""Finds plugins, gathers their offers, remembers origins, sets the broken aside.

Our own loop over entry points: one plugin that cannot be loaded never stops the others, and
two offers of one name are an error at look-up that names both. Nobody wins by order.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from omnibench import hookspecs
from omnibench.cards import (
    DatasetPrefix,
    DatasetSpec,
    DatasetVariant,
    EncoderPrefix,
    EncoderSpec,
    PublishedValue,
    check_name,
)
from omnibench.errors import OmnibenchError, PluginError, SetupError, UsageError, suggestion
from omnibench.interfaces import Task
from omnibench.offers import Broken, Offer, Plugin, any_name, made, name_of, prefix_of
from omnibench.screening import TookTooLong, check_card, check_task, guarded

if TYPE_CHECKING:
    import click

GROUP = "omnibench"
SECONDS = 60.0  # that loading one plugin may take; importing torch from a cold disk takes tens
MOST_OFFERS = 10_000  # of one hook; more is an iterator that does not end
LONGEST = 500  # characters of a broken plugin's reason
T = TypeVar("T")


class Registry:
    """Everything that plugins offer.

    Use `Registry.discover()` for users (all installed plugins) and `Registry.of(...)` in
    tests (the given modules only).
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self.broken: list[Broken] = []
        self.encoders: list[Offer[EncoderSpec]] = []
        self.encoder_prefixes: list[Offer[EncoderPrefix]] = []
        self.tasks: list[Offer[Task]] = []
        self.datasets: list[Offer[DatasetSpec]] = []
        self.dataset_prefixes: list[Offer[DatasetPrefix]] = []
        self.dataset_variants: list[Offer[DatasetVariant]] = []

    @classmethod
    def discover(cls, files: Iterable[Path] = ()) -> Registry:
        """Load every installed plugin, then plugins given as Python files."""
        registry = cls()
        found = [(*_origin(e), e) for e in importlib.metadata.entry_points(group=GROUP)]
        for distribution, version, entry in sorted(found, key=lambda f: (f[0], f[2].name)):
            registry._add(distribution, version, entry.name, entry.load)
        for path in files:
            registry.add_file(path)
        return registry

    @classmethod
    def of(cls, *modules: ModuleType | object, distribution: str = "omnibench") -> Registry:
        """Make a registry of the given plugin modules or objects only."""
        registry = cls()
        for number, module in enumerate(modules):
            name = getattr(module, "__name__", f"plugin{number}").rpartition(".")[2]
            registry._add(distribution, "0", name, functools.partial(_itself, module))
        return registry

    def add_file(self, path: Path) -> None:
        """Load a plugin from a Python file, without packaging (`--plugin FILE`)."""
        if not path.is_file():
            raise SetupError(f"--plugin {path}: there is no such file")
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        except OSError as error:
            raise SetupError(f"--plugin {path} cannot be read: {error.strerror}") from None
        before = len(self.broken)
        self._add("file", digest, path.stem, lambda: _import_file(path, digest))
        if len(self.broken) > before:
            raise PluginError(f"--plugin {path}: {self.broken[-1].error}")

    # -- look-up ---------------------------------------------------------------------

    def encoder(self, name: str) -> Offer[EncoderSpec]:
        """Return the card for a name, `distribution/name`, or a reference such as `timm:…`."""
        prefix, colon, rest = name.partition(":")
        if colon:
            offer = self._pick("encoder prefix", prefix, self.encoder_prefixes, prefix_of)
            return made(offer, rest, EncoderSpec)
        return self._pick("encoder", name, self.encoders, name_of)

    def task(self, name: str) -> Offer[Task]:
        """Return the task of that name."""
        return self._pick("task", name, self.tasks, name_of)

    def dataset(self, name: str) -> Offer[DatasetSpec]:
        """Return the card for a name, `distribution/name`, or a reference such as `folder:…`."""
        prefix, colon, rest = name.partition(":")
        if colon:
            doors: list[Offer[Any]] = [*self.dataset_prefixes, *self.dataset_variants]
            offer = self._pick("dataset prefix", prefix, doors, prefix_of)
            if isinstance(offer.card, DatasetVariant):
                original = self.dataset(rest)
                return Offer(offer.card.make(original.card), original.plugin)
            return Offer(offer.card.make(rest), offer.plugin)
        self._check_shown_name(name)
        return self._pick("dataset", name, self.datasets, name_of)

    def _check_shown_name(self, name: str) -> None:
        """Raise where a name is the one that tables give to a variant, such as `busi-clean`."""
        original, _, prefix = name.rpartition("-")
        known = {offer.card.name for offer in self.datasets}
        variants = {offer.card.prefix for offer in self.dataset_variants}
        if name not in known and original in known and prefix in variants:
            raise UsageError(f"there is no dataset {name!r}. Did you mean {prefix}:{original}?")

    def published(self) -> list[Offer[PublishedValue]]:
        """Return the published numbers of all plugins."""
        values: list[Offer[PublishedValue]] = []
        for plugin in list(self.plugins):
            try:
                with guarded(SECONDS):
                    found = self._call(plugin, "omnibench_published")
                strange = [v for v in found if not isinstance(v, PublishedValue)]
                if strange:
                    raise PluginError(
                        f"omnibench_published returned {type(strange[0]).__name__}, not "
                        "PublishedValue"
                    )
            except (Exception, SystemExit, TookTooLong) as error:  # noqa: BLE001 - a stranger's code
                self._set_aside(plugin.name, error)
                continue
            values += [Offer(value, plugin) for value in found]
        return values

    def add_commands(self, cli: click.Group) -> None:
        """Let plugins add their commands to the command line."""
        for plugin in list(self.plugins):
            try:
                with guarded(SECONDS):
                    self._call(plugin, "omnibench_commands", cli)
            except (Exception, SystemExit, TookTooLong) as error:  # noqa: BLE001 - a stranger's code
                self._set_aside(plugin.name, error)

    # -- loading ---------------------------------------------------------------------

    def _add(
        self, distribution: str, version: str, entry_point: str, load: Callable[[], Any]
    ) -> None:
        """Load one plugin and take its offers, or set it aside whole."""
        name = f"{distribution}:{entry_point}"
        try:
            with guarded(SECONDS):
                had_torch = "torch" in sys.modules
                module = load()
                imports_torch = not had_torch and "torch" in sys.modules
                plugin = Plugin(distribution, version, entry_point, module, imports_torch)
                self._register(plugin)
                offers = self._gather(plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a stranger's import may raise anything
            self._manager.unregister(name=name) if self._manager.has_plugin(name) else None
            self._set_aside(name, error)
            return
        self.plugins.append(plugin)
        for shelf, new in offers:
            shelf.extend(new)

    def _register(self, plugin: Plugin) -> None:
        self._manager.register(plugin.module, name=plugin.name)
        for caller in self._manager.get_hookcallers(plugin.module) or ():
            if not caller.has_spec():
                known = [n for n in vars(hookspecs) if n.startswith("omnibench_")]
                raise PluginError(f"unknown hook {caller.name!r}.{suggestion(caller.name, known)}")

    def _gather(self, plugin: Plugin) -> list[tuple[list[Any], list[Offer[Any]]]]:
        """Call the card hooks of one plugin and check what comes back."""
        shelves: Sequence[tuple[str, dict[type, list[Any]]]] = (
            (
                "omnibench_encoders",
                {EncoderSpec: self.encoders, EncoderPrefix: self.encoder_prefixes},
            ),
            ("omnibench_tasks", {Task: self.tasks}),
            (
                "omnibench_datasets",
                {
                    DatasetSpec: self.datasets,
                    DatasetPrefix: self.dataset_prefixes,
                    DatasetVariant: self.dataset_variants,
                },
            ),
        )
        gathered = []
        for hook, kinds in shelves:
            for card in self._call(plugin, hook):
                shelf = next((s for kind, s in kinds.items() if isinstance(card, kind)), None)
                if shelf is None:
                    wanted = " or ".join(f"{kind.__name__}" for kind in kinds)
                    raise PluginError(f"{hook} returned {type(card).__name__}, not {wanted}")
                what = hook.removeprefix("omnibench_").rstrip("s")
                check_task(card) if isinstance(card, Task) else check_card(card, what)
                check_name(any_name(card), what)
                gathered.append((shelf, [Offer(card, plugin)]))
        return gathered

    def _call(self, plugin: Plugin, hook: str, *arguments: Any) -> list[Any]:
        """Call one hook of one plugin, so that what it returns can be attributed."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is plugin.module:
                result = implementation.function(*arguments[: len(implementation.argnames)])
                found = list(itertools.islice(result or (), MOST_OFFERS + 1))
                if len(found) > MOST_OFFERS:
                    raise PluginError(f"{hook} returned more than {MOST_OFFERS} offers")
                return found
        return []

    def _set_aside(self, name: str, error: BaseException) -> None:
        try:
            said = str(error)
        except Exception:  # noqa: BLE001 - a stranger's error may not even have a text
            said = "its error cannot be shown"
        text = said if isinstance(error, OmnibenchError) else f"{type(error).__name__}: {said}"
        # One line: what a stranger says must not look like messages of ours.
        self.broken.append(Broken(name, " ".join(text.split())[:LONGEST], traceback.format_exc()))

    def _pick(
        self, what: str, name: str, offers: Sequence[Offer[T]], key: Callable[[T], str]
    ) -> Offer[T]:
        """Return the only offer of a name, or raise with the nearest names."""
        distribution, slash, short = name.rpartition("/")
        found = [
            offer
            for offer in offers
            if key(offer.card) == short and (not slash or offer.plugin.distribution == distribution)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            origins = sorted({offer.plugin.distribution for offer in found})
            if len(origins) == 1:
                raise UsageError(f"{what} {name!r} is offered twice by {origins[0]}; remove one")
            raise UsageError(
                f"{what} {name!r} is offered by {' and by '.join(origins)}. "
                f"Name one in full, e.g. {origins[0]}/{short}."
            )
        known = sorted({key(offer.card) for offer in offers})
        plural = "datasets" if what.startswith("dataset") else what.split()[0] + "s"
        message = (
            f"there is no {what} {name!r}.{suggestion(short, known)} "
            f"`omnibench list {plural}` shows all."
        )
        raise UsageError("\n".join([message, *self.not_loaded()]))

    def not_loaded(self) -> list[str]:
        """Return a line for each plugin that was set aside."""
        return [f"not loaded: {broken.name}: {broken.error}" for broken in self.broken]


def _origin(entry: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Return distribution and version; damaged metadata have neither."""
    try:
        assert entry.dist is not None
        return str(entry.dist.name or "unknown"), str(entry.dist.version or "")
    except Exception:  # noqa: BLE001 - metadata of strangers may lack anything
        return "unknown", ""


def _itself(module: object) -> object:
    return module


def _import_file(path: Path, digest: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"omnibench_file_{digest}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
