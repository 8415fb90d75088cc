"""What `omnibench list` shows, as rows; never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omnibench.cards import EncoderSpec
from omnibench.offers import Offer
from omnibench.registry import Registry

Row = dict[str, Any]


def encoders(registry: Registry) -> list[Row]:
    """Return a row for every encoder and every reference prefix."""
    rows = [
        {
            "encoder": offer.card.name,
            "family": offer.card.family,
            "width": offer.card.embed_dim or "",
            "patch": offer.card.patch_size if offer.card.patch_size > 1 else "",
            "licence": _licence(offer.card),
            "weights": offer.card.source.repo if offer.card.source else _no_source(offer.card),
            "from": offer.plugin.distribution,
            "notes": offer.card.notes,
        }
        for offer in sorted(registry.encoders, key=lambda o: o.card.name)
    ]
    for prefix in registry.encoder_prefixes:
        blank = dict.fromkeys(("family", "width", "patch", "licence", "weights"), "")
        row = {"encoder": f"{prefix.card.prefix}:…", **blank, "from": prefix.plugin.distribution}
        rows.append({**row, "notes": prefix.card.summary})
    return rows


def tasks(registry: Registry) -> list[Row]:
    """Return a row for every task."""
    return [
        {
            "task": offer.card.name,
            "version": offer.card.version,
            "recipes": ", ".join(offer.card.recipes),
            "tunings": ", ".join(offer.card.tunings),
            "from": offer.plugin.distribution,
            "summary": offer.card.summary,
        }
        for offer in sorted(registry.tasks, key=lambda o: o.card.name)
    ]


def datasets(registry: Registry) -> list[Row]:
    """Return a row for every dataset and every reference prefix."""
    rows = [
        {
            "dataset": offer.card.name,
            "kind": offer.card.kind + (" (multi-label)" if offer.card.multi_label else ""),
            "classes": len(offer.card.classes) or "",
            "train/val/test": "/".join(map(str, offer.card.split_sizes or ())),
            "pixels": ", ".join(map(str, offer.card.sizes)),
            "modality": offer.card.modality,
            "licence": offer.card.licence,
            "from": offer.plugin.distribution,
        }
        for offer in sorted(registry.datasets, key=lambda o: (o.card.collection, o.card.name))
    ]
    doors: list[Offer[Any]] = [*registry.dataset_prefixes, *registry.dataset_variants]
    for prefix in doors:
        blank = dict.fromkeys(("classes", "train/val/test", "pixels", "licence"), "")
        row = {"dataset": f"{prefix.card.prefix}:…", "kind": "", **blank}
        rows.append({**row, "modality": prefix.card.summary, "from": prefix.plugin.distribution})
    return rows


def plugins(registry: Registry) -> list[Row]:
    """Return a row for every plugin, loaded or set aside."""
    rows = [
        {
            "plugin": plugin.name,
            "version": plugin.version,
            "state": "loaded; imports torch at start, which slows every command"
            if plugin.imports_torch
            else "loaded",
        }
        for plugin in registry.plugins
    ]
    return rows + [
        {"plugin": broken.name, "version": "", "state": f"not loaded: {broken.error}"}
        for broken in registry.broken
    ]


def _licence(card: EncoderSpec) -> str:
    parts = [card.licence]
    if card.commercial is False:
        parts.append("non-commercial")
    if card.gated:
        parts.append(f"gated: {card.licence_url}")
    return ", ".join(parts)


def _no_source(card: EncoderSpec) -> str:
    return "none: trained from scratch" if card.end_to_end else "its own"


TABLES: dict[str, Callable[[Registry], list[Row]]] = {
    "encoders": encoders,
    "tasks": tasks,
    "datasets": datasets,
    "plugins": plugins,
}
