"""What runs need from outside: datasets, weights, the hub, a token, accepted licences."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from omnibench import weights
from omnibench.cards import DatasetSpec
from omnibench.doctor.findings import Finding, Place, failed, passed, size_text, warned
from omnibench.errors import OmnibenchError, UsageError

TIMEOUT = 2.0  # seconds for the hub's answer
PATIENCE = 3.0  # seconds; looking up a name knows no timeout of its own
SERVER_FAULT = 500


class HubProbe:
    """Asks whether the hub answers, while other things are looked at."""

    def __init__(self, place: Place) -> None:
        from huggingface_hub.constants import ENDPOINT, is_offline_mode

        self._offline = "--offline" if place.offline else ""
        if is_offline_mode():
            self._offline = "HF_HUB_OFFLINE is set"
        self._answer = f"no answer within {PATIENCE:.0f} s"
        self._reached = False
        self._host = urlsplit(ENDPOINT).hostname or "the hub"
        # A daemon: a name server that never answers must not keep the command from ending.
        self._thread = threading.Thread(target=self._ask, args=(ENDPOINT,), daemon=True)
        if not self._offline:
            self._thread.start()

    def finding(self) -> Finding:
        """Wait for the answer a few seconds at most."""
        if self._offline:
            return passed("hub", f"not asked: {self._offline}")
        self._thread.join(PATIENCE)
        if self._reached:
            return passed("hub", f"{self._host} answers")
        told = f"{self._host} could not be reached ({self._answer}): only cached weights will do"
        return warned("hub", told, "set HTTPS_PROXY where there is a proxy, else use --offline")

    def _ask(self, endpoint: str) -> None:
        request = urllib.request.Request(endpoint, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                self._reached = True
        except HTTPError as error:
            self._answer, self._reached = f"status {error.code}", error.code < SERVER_FAULT
        except Exception as error:  # noqa: BLE001 - an address of the user's may be no address
            reason = getattr(error, "reason", error)
            # The class alone: texts may repeat a proxy's address with its password.
            self._answer = type(reason if isinstance(reason, Exception) else error).__name__


def findings(place: Place) -> Iterator[Finding]:
    """Yield what is found about datasets, weights, licences and the token."""
    yield from _datasets(place)
    try:
        here, absent = _weights(place)
    except OmnibenchError as error:
        yield failed("weights", str(error), f"remove {place.cache / weights.LOCK_NAME}")
        return
    told = f"{len(here)} of {len(here) + len(absent)} encoders have theirs on this machine"
    told += f": {', '.join(here)}" if here else ""
    if place.offline and not here:
        yield warned("weights", told, "hf download REPOSITORY where there is a network")
    else:
        yield passed("weights", told)
    yield from _licences(place, set(here))


def _datasets(place: Place) -> Iterator[Finding]:
    """Name the files below the data root with their sizes; none is opened."""
    present: dict[Path, str] = {}
    for offer in place.registry.datasets:
        try:
            present |= _present(offer.card, place.data_root)
        except Exception as error:  # noqa: BLE001 - a stranger's card, or a folder of others
            told = f"{offer.card.name} cannot be looked for: {type(error).__name__}: {error}"
            yield warned("datasets", told, f"look into {place.data_root}, or ask its authors")
    embedded = [o.card.name for o in place.registry.datasets if o.card.embedded]
    always = f"always there: {', '.join(embedded)}" if embedded else ""
    if present:
        yield passed("datasets", "; ".join(filter(None, [", ".join(present.values()), always])))
        return
    told = "; ".join(filter(None, [f"none below {place.data_root}", always]))
    remedy = "name the folder with --data-root DIR or OMNIBENCH_DATA; `run` downloads others"
    yield warned("datasets", told, remedy)


def _present(card: DatasetSpec, root: Path) -> dict[Path, str]:
    """Return which of a dataset's files and folders are there, in words."""
    found = {}
    for path in card.files(root) if card.files else ():
        if path.exists():
            size = "folder" if path.is_dir() else size_text(path.stat().st_size)
            found[path] = f"{path.name} ({size})"
    return found


def _weights(place: Place) -> tuple[list[str], list[str]]:
    """Return names of encoders whose weights are here, and of those whose are not."""
    here: list[str] = []
    absent: list[str] = []
    for offer in place.registry.encoders:
        if offer.card.source is not None:
            try:
                found = weights.cached(offer.card.source, place.cache)
            except UsageError:  # no repository can be called so: `run` says it
                found = False
            (here if found else absent).append(offer.card.name)
    return here, absent


def _licences(place: Place, here: set[str]) -> Iterator[Finding]:
    """Yield a finding for each encoder whose licence must be accepted, and one for the token."""
    from huggingface_hub import get_token

    gated = [o.card for o in place.registry.encoders if o.card.gated]
    for card in gated:
        page = card.licence_url or (card.source.url if card.source else card.paper)
        if card.name in here:
            yield passed("licence", f"{card.name} is gated; its weights are here")
        else:
            told = f"{card.name} is gated ({card.licence})"
            yield warned("licence", told, f"accept it at {page}, then `hf auth login`")
    if not gated:
        yield passed("licence", "no encoder needs a licence to be accepted first")
    if get_token():
        told = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`"
        yield passed("token", f"there is one for the hub, from {told}")
    elif gated:
        yield warned("token", "none for the hub; gated weights need one", "hf auth login")
    else:
        yield passed("token", "none for the hub; no encoder here needs one")
