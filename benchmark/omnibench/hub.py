"""One file of a model repository, from the local hub cache or by download.

Imports `huggingface_hub` late (it reads its environment when imported) and torch never.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from omnibench.cards import HubFile
from omnibench.errors import SetupError, UsageError, WeightsMissing

TIMEOUT = 3.0  # seconds to wait for the hub's answer; the client's own retries take a minute
# Before the first import of the client: it would tell the hub which torch and which programs are
# here, and ask it for a list of programs to look for. Whoever wants that sets the variable to 0.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
WAY_OUT = (
    "Or give a file you have with --weights FILE, or measure an untrained encoder with "
    "--random-weights."
)


def fetch(source: HubFile, filename: str, revision: str, *, offline: bool) -> tuple[Path, str]:
    """Return a file's path in the hub cache and the commit it belongs to.

    Args:
        source: The repository.
        filename: Which of its files.
        revision: Commit or branch; empty for the newest that is cached, else the newest there is.
        offline: Never touch the network.

    Raises:
        WeightsMissing: If the file is not cached and cannot be had; says what to do.
        SetupError: If it cannot be stored.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if (here := cached(source, filename, revision)) is not None:
        return here, commit_of(here)
    if offline:
        raise WeightsMissing(_not_here(source, filename, revision, "--offline forbids downloading"))
    try:
        path = download(source.repo, filename, revision)
    except Exception as error:  # noqa: BLE001 - every kind is told apart, the unknown re-raised
        _explain(error, source, filename, revision)
    return path, commit_of(path)


def cached(source: HubFile, filename: str, revision: str) -> Path | None:
    """Return where a file lies in the hub cache, None if it does not; no network is needed.

    Raises:
        UsageError: If no repository can be called so.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(source.repo, filename, revision=revision or None)
    except HFValidationError as error:
        raise UsageError(f"{source.repo!r} is no repository of the hub: {error}") from None
    return Path(path) if isinstance(path, str) else None


def download(repo: str, filename: str, revision: str) -> Path:
    """Download into the hub cache; one request asks first, so that no network is known at once."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled

    if is_offline_mode():
        raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
    url = hf_hub_url(repo, filename, revision=revision or None)
    facts = get_hf_file_metadata(url, timeout=TIMEOUT)
    return Path(hf_hub_download(repo, filename, revision=facts.commit_hash or revision or None))


def commit_of(path: Path) -> str:
    """Return the commit in a hub cache path `…/snapshots/<commit>/<file>`."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def _explain(error: Exception, source: HubFile, filename: str, revision: str) -> NoReturn:
    """Raise what a user can act on; the classes overlap, so the order matters."""
    from huggingface_hub import errors as hub

    chain = _causes(error)

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if any_is(hub.GatedRepoError):
        raise WeightsMissing(
            f"the weights in {source.repo} are gated: accept the licence at "
            f"{source.licence_url or source.url} and set HF_TOKEN to a token of that account. "
            f"{_way_out(source)}"
        ) from error
    if any_is(hub.RepositoryNotFoundError):
        raise WeightsMissing(
            f"the hub has no repository {source.repo} that this account may read: check the name, "
            f"or set HF_TOKEN if it is private. {_way_out(source)}"
        ) from error
    if any_is(hub.RevisionNotFoundError):
        raise WeightsMissing(
            f"{source.repo} has no revision {revision or 'main'} any more. {_way_out(source)}"
        ) from error
    if any_is(hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set" if any_is(hub.OfflineModeIsEnabled) else "no network"
        raise WeightsMissing(_not_here(source, filename, revision, reason)) from error
    if any_is(hub.EntryNotFoundError):
        raise WeightsMissing(
            f"{source.repo} has no file {filename}: see {source.url} for what it has. "
            f"{_way_out(source)}"
        ) from error
    if any_is(hub.HfHubHTTPError, ConnectionError, TimeoutError) or _is_network(chain):
        reason = f"the hub could not be reached ({type(error).__name__})"
        raise WeightsMissing(_not_here(source, filename, revision, reason)) from error
    if isinstance(error, OSError):
        raise SetupError(
            f"{filename} of {source.repo} could not be stored: {error}. Free some space, or set "
            "HF_HOME to a folder that can be written."
        ) from error
    raise error


def _causes(error: BaseException | None) -> list[BaseException]:
    """Return an error and everything it was raised from."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _is_network(chain: list[BaseException]) -> bool:
    """Tell errors of the client's HTTP library, which it changed twice."""
    modules = {type(link).__module__.split(".")[0] for link in chain}
    return not modules.isdisjoint({"httpx", "httpx2", "httpcore", "httpcore2", "requests"})


def _not_here(source: HubFile, filename: str, revision: str, reason: str) -> str:
    files = " ".join((source.filename, *source.companions))
    pinned = f" --revision {revision}" if revision else ""
    return (
        f"{filename} of {source.repo} is not on this machine and was not fetched: {reason}. "
        f"Where there is a network, run `hf download {source.repo} {files}{pinned}`. {_way_out(source)}"
    )


def _way_out(source: HubFile) -> str:
    return source.remedy or WAY_OUT
