"""Python, required and optional packages, plugins; what they should be stands in the metadata."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from omnibench.doctor.findings import Finding, Place, failed, passed, warned
from omnibench.errors import PluginError

DISTRIBUTION = "omnibench"
PURPOSES = {
    "cnn": "U-Net baselines",
    "dicom": "DICOM images in folder: data",
    "parquet": "rocov2 from the hub's files",
    "ray": "--executor ray",
    "slurm": "--executor slurm",
}
SAFETY = {"torch": "older ones can run code from a checkpoint they read"}


def findings(place: Place) -> Iterator[Finding]:
    """Yield what is found about software; torch itself is asked elsewhere."""
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist") or ()]
    yield _python(metadata["Requires-Python"] or "")
    yield from _required([r for r in requirements if r.marker is None or r.marker.evaluate()])
    for extra in PURPOSES:
        own = [r for r in requirements if r.marker and r.marker.evaluate({"extra": extra})]
        yield _optional(extra, [r for r in own if r.marker and not r.marker.evaluate()])
    yield from _plugins(place)


def _python(wanted: str) -> Finding:
    version = platform.python_version()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return passed("python", f"{version} ({wanted} is needed)")
    return failed("python", f"{version}, {wanted} is needed", "install a newer Python")


def _required(requirements: Sequence[Requirement]) -> Iterator[Finding]:
    """Yield a failure for each package that is missing or too old, else that none is."""
    found = 0
    for requirement in requirements:
        fault = _fault(requirement)
        found += fault is None
        if fault:
            reason = SAFETY.get(requirement.name, "")
            yield failed(
                requirement.name,
                f"{fault}; {reason}" if reason else fault,
                f"pip install '{_bare(requirement)}'",
            )
    yield passed(
        "packages", f"{found} of {len(requirements)} required packages are as they should be"
    )


def _optional(extra: str, requirements: Sequence[Requirement]) -> Finding:
    faults = [fault for requirement in requirements if (fault := _fault(requirement))]
    topic = f"extra {extra}"
    if faults:
        command = f"pip install '{DISTRIBUTION}[{extra}]'"
        return warned(topic, f"{'; '.join(faults)}: no {PURPOSES[extra]}", command)
    return passed(topic, f"{PURPOSES[extra]}: {', '.join(map(_installed, requirements))}")


def _plugins(place: Place) -> Iterator[Finding]:
    """Yield what loaded, a failure for each plugin that did not, and names offered twice."""
    registry = place.registry
    loaded = [f"{plugin.name} {plugin.version}" for plugin in registry.plugins]
    yield passed("plugins", f"{len(loaded)} loaded: {', '.join(loaded)}")
    for broken in registry.broken:
        remedy = f"pip install -U {broken.name.partition(':')[0]}, or uninstall it"
        fault = failed("plugin", f"{broken.name} was not loaded: {broken.error}", remedy)
        yield replace(fault, exit_code=PluginError.exit_code)
    for plugin in registry.plugins:
        if plugin.imports_torch:
            told = f"{plugin.name} imports torch at start, which slows every command"
            yield warned("plugin", told, "ask its authors to import torch where it builds")
    for kind, names in _several(place).items():
        for name, origins in names.items():
            told = f"{kind} {name!r} is offered by {' and by '.join(origins)}"
            yield warned("plugin", told, f"name one in full, e.g. {origins[0]}/{name}")


def _several(place: Place) -> dict[str, dict[str, list[str]]]:
    """Return names that are offered more than once, with their origins."""
    registry = place.registry
    shelves: dict[str, Sequence[Any]] = {
        "encoder": registry.encoders,
        "task": registry.tasks,
        "dataset": registry.datasets,
    }
    found: dict[str, dict[str, list[str]]] = {}
    for kind, offers in shelves.items():
        counts = Counter(offer.card.name for offer in offers)
        found[kind] = {
            name: [o.plugin.distribution for o in offers if o.card.name == name]
            for name, count in counts.items()
            if count > 1
        }
    return found


def _fault(requirement: Requirement) -> str | None:
    """Return what is wrong with an installed package, or None."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} is {version}, {requirement.specifier} is needed"


def _installed(requirement: Requirement) -> str:
    return f"{requirement.name} {importlib.metadata.version(requirement.name)}"


def _bare(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"
