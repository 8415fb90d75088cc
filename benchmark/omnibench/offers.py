"""What a plugin offers, with its origin: the card itself, or what a prefix makes of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from omnibench.cards import check_name
from omnibench.errors import OmnibenchError, PluginError
from omnibench.screening import check_card

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin:
    """A loaded plugin: who ships it, under which entry point."""

    distribution: str
    version: str
    entry_point: str
    module: Any
    imports_torch: bool = False

    @property
    def name(self) -> str:
        """`distribution:entry_point`, unique among loaded plugins."""
        return f"{self.distribution}:{self.entry_point}"


@dataclass(frozen=True)
class Broken:
    """A plugin that was set aside, and why."""

    name: str
    error: str
    trace: str


@dataclass(frozen=True)
class Offer(Generic[T]):
    """A card with its origin."""

    card: T
    plugin: Plugin


def made(offer: Offer[Any], rest: str, kind: type[T]) -> Offer[T]:
    """Return the card that a prefix makes of a reference, checked like those that are offered."""
    what = f"{offer.card.prefix}:{rest}"
    try:
        card = offer.card.make(rest)
        if not isinstance(card, kind):
            raise PluginError(f"it made {type(card).__name__}, not {kind.__name__}")
        check_card(card, what)
        check_name(name_of(card), what)
    except PluginError as error:
        raise PluginError(f"{offer.plugin.name} cannot make {what}: {error}") from None
    except OmnibenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"{offer.plugin.name} cannot make {what}: {type(error).__name__}: {error}"
        ) from error
    return Offer(card, offer.plugin)


def name_of(card: Any) -> str:
    """Return the name of a card."""
    return str(card.name)


def prefix_of(card: Any) -> str:
    """Return the prefix of what makes cards."""
    return str(card.prefix)


def any_name(card: Any) -> str:
    """Return the one or the other."""
    return prefix_of(card) if hasattr(card, "prefix") else name_of(card)
