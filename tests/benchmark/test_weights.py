"""Where parameters come from, what is pinned, and what happens without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors

from omnibench import hub, weights
from omnibench.cards import EncoderSpec, HubFile
from omnibench.errors import IntegrityError, SetupError, UsageError, WeightsMissing

SOURCE = HubFile(repo="acme/vit")


def build(**_: Any) -> Any:
    raise AssertionError("resolving must not build")


CARD = EncoderSpec(name="acme-vit", build=build, source=SOURCE)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FakeHub:
    """A hub cache in a folder, and a `download` that fills it from memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commit = "a" * 40
        self.files = {"model.safetensors": b"weights one"}
        self.asked: list[tuple[str, str]] = []

    def download(self, repo: str, filename: str, revision: str) -> Path:
        self.asked.append((filename, revision))
        return self.put(repo, filename, revision or self.commit)

    def put(self, repo: str, filename: str, commit: str) -> Path:
        folder = self.root / f"models--{repo.replace('/', '--')}"
        path = folder / "snapshots" / commit / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[filename])
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(self.commit)
        return path


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # restored afterwards: offline resolving sets it
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    made = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "download", made.download)
    return made


def resolve(card: EncoderSpec, cache: Path, **changes: Any) -> Any:
    options = {"file": None, "random": False, "offline": False} | changes
    return weights.resolve(card, cache=cache, **options)


def test_a_file_is_used_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"abc")
    choice = resolve(CARD, tmp_path, file=tmp_path / "w.pt")
    assert (choice.kind, choice.path, choice.sha256) == ("file", tmp_path / "w.pt", sha(b"abc"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nowhere\.pt: there is no file"):
        resolve(CARD, tmp_path, file=tmp_path / "nowhere.pt")


def test_random_weights_have_a_digest_of_their_own_per_encoder(tmp_path: Path) -> None:
    one = resolve(CARD, tmp_path, random=True)
    other = resolve(replace(CARD, name="acme-b"), tmp_path, random=True)
    assert one.kind == "random" and one.path is None
    assert one.sha256 == resolve(CARD, tmp_path, random=True).sha256
    assert one.sha256 != other.sha256 and len(one.sha256) == 64


def test_contradicting_options_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"abc")
    with pytest.raises(UsageError, match="--random-weights"):
        resolve(CARD, tmp_path, file=tmp_path / "w.pt", random=True)
    unet = EncoderSpec(name="unet", end_to_end=True, build_end_to_end=build)
    with pytest.raises(UsageError, match="trained from scratch"):
        resolve(unet, tmp_path, file=tmp_path / "w.pt", random=True)
    assert resolve(unet, tmp_path).kind == "own"


def test_an_encoder_without_source_brings_its_own_parameters(tmp_path: Path) -> None:
    assert resolve(replace(CARD, source=None), tmp_path).kind == "own"


def test_the_first_download_pins_commit_and_digest(tmp_path: Path, fake: FakeHub) -> None:
    choice = resolve(CARD, tmp_path / "cache")
    assert (choice.kind, choice.revision) == ("official", "a" * 40)
    assert choice.sha256 == sha(b"weights one")
    lock = json.loads((tmp_path / "cache" / "weights-lock.json").read_text())
    assert lock["files"] == {
        "acme/vit/model.safetensors": {"commit": "a" * 40, "sha256": sha(b"weights one")}
    }
    left = {p.name for p in (tmp_path / "cache").iterdir()}
    assert left == {"weights-lock.json", "weights-lock.json.lock"}, "no half-written file"


def test_a_cached_file_is_used_offline_and_without_asking(tmp_path: Path, fake: FakeHub) -> None:
    path = fake.put("acme/vit", "model.safetensors", fake.commit)
    choice = resolve(CARD, tmp_path, offline=True)
    assert (choice.path, choice.revision, fake.asked) == (path, "a" * 40, [])


def test_later_runs_ask_for_the_pinned_commit(tmp_path: Path, fake: FakeHub) -> None:
    first = resolve(CARD, tmp_path)
    fake.commit, fake.files = "b" * 40, {"model.safetensors": b"weights two"}
    fake.put("acme/vit", "model.safetensors", "b" * 40)
    assert resolve(CARD, tmp_path) == first
    first.path.unlink()  # gone from the cache: fetched anew, of the old commit
    fake.files = {"model.safetensors": b"weights one"}
    assert resolve(CARD, tmp_path).revision == "a" * 40
    assert fake.asked[-1] == ("model.safetensors", "a" * 40)


def test_other_bytes_under_the_pinned_commit_are_refused(tmp_path: Path, fake: FakeHub) -> None:
    choice = resolve(CARD, tmp_path)
    choice.path.write_bytes(b"weights one, one bit flipped")
    with pytest.raises(IntegrityError) as caught:
        resolve(CARD, tmp_path, offline=True)
    text = str(caught.value)
    assert sha(b"weights one") in text and sha(b"weights one, one bit flipped") in text
    assert "weights-lock.json" in text


def test_what_the_card_states_wins_over_the_lock(tmp_path: Path, fake: FakeHub) -> None:
    resolve(CARD, tmp_path)
    fake.files = {"model.safetensors": b"weights two"}
    pinned = replace(SOURCE, revision="c" * 40, sha256=sha(b"weights two"))
    choice = resolve(replace(CARD, source=pinned), tmp_path)
    assert (choice.revision, choice.sha256) == ("c" * 40, sha(b"weights two"))
    wrong = replace(pinned, sha256="0" * 64)
    with pytest.raises(IntegrityError, match=f"its card states {'0' * 64}"):
        resolve(replace(CARD, source=wrong), tmp_path)


def test_companions_come_from_the_same_commit_and_count_in_the_digest(
    tmp_path: Path, fake: FakeHub
) -> None:
    card = replace(CARD, source=replace(SOURCE, companions=("config.json",)))
    fake.files["config.json"] = b"{}"
    choice = resolve(card, tmp_path)
    assert fake.asked == [("model.safetensors", ""), ("config.json", "a" * 40)]
    assert (choice.path.parent / "config.json").read_bytes() == b"{}"
    parts = f"{sha(b'weights one')}\n{sha(b'{}')}"
    assert choice.sha256 == sha(parts.encode())
    random = resolve(card, tmp_path, random=True)
    assert random.path == choice.path.parent / "config.json"
    (tmp_path / "alone.safetensors").write_bytes(b"x")
    with pytest.raises(SetupError, match=r"config\.json, which must lie beside alone"):
        resolve(card, tmp_path, file=tmp_path / "alone.safetensors")


def test_a_damaged_lock_file_is_named(tmp_path: Path, fake: FakeHub) -> None:
    for text in ("{", "[]", '{"files": {"a/b": {"commit": "x"}}}'):
        (tmp_path / "weights-lock.json").write_text(text)
        with pytest.raises(IntegrityError, match=r"weights-lock\.json is damaged"):
            resolve(CARD, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, fake: FakeHub) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(SetupError, match="choose another folder with --cache"):
        resolve(CARD, tmp_path / "cache")


def http_error(kind: type[Exception]) -> Exception:
    response = SimpleNamespace(headers={}, request=None, status_code=404)
    return kind("no", response=response)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda: http_error(hub_errors.GatedRepoError), "gated: accept the licence at https://l"),
        (lambda: http_error(hub_errors.RepositoryNotFoundError), "no repository acme/vit"),
        (lambda: http_error(hub_errors.RevisionNotFoundError), "no revision main"),
        (lambda: http_error(hub_errors.RemoteEntryNotFoundError), "no file model.safetensors"),
        (lambda: http_error(hub_errors.HfHubHTTPError), "could not be reached"),
        (lambda: hub_errors.LocalEntryNotFoundError("no"), "hf download acme/vit model.safe"),
        (lambda: hub_errors.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE is set"),
        (lambda: ConnectionError("no"), "could not be reached"),
    ],
    ids=["gated", "repo", "revision", "entry", "http", "uncached", "offline", "network"],
)
def test_each_refusal_of_the_hub_says_what_to_do(
    tmp_path: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch, error: Any, words: str
) -> None:
    def refuse(*_: str) -> Path:
        raise RuntimeError("wrapped, as libraries do") from error()

    monkeypatch.setattr(hub, "download", refuse)
    card = replace(CARD, source=replace(SOURCE, licence_url="https://licence"))
    with pytest.raises(WeightsMissing) as caught:
        resolve(card, tmp_path)
    assert words in str(caught.value) and "--weights FILE" in str(caught.value)


def test_a_full_disk_is_not_called_missing_weights(
    tmp_path: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: str) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "download", full)
    with pytest.raises(SetupError, match="No space left") as caught:
        resolve(CARD, tmp_path)
    assert not isinstance(caught.value, WeightsMissing)


def test_an_unknown_error_is_not_swallowed(
    tmp_path: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "download", lambda *_: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        resolve(CARD, tmp_path)


RESOLVE_IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
from omnibench import weights
from omnibench.errors import WeightsMissing
from omnibench.cards import EncoderSpec, HubFile
card = EncoderSpec(name="x", build=print, source=HubFile(repo="acme/vit"))
try:
    weights.resolve(
        card, file=None, random=False, offline=sys.argv[1] == "offline", cache=Path(sys.argv[2])
    )
except WeightsMissing as error:
    print(error)
heavy = {"torch", "numpy", "pandas", "transformers", "timm"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize("mode", ["offline", "no network"])
def test_missing_weights_end_at_once_and_without_torch(tmp_path: Path, mode: str) -> None:
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nothing listens there
        "HF_HUB_OFFLINE": "0",
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE_IN_A_NEW_PROCESS, mode, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hf download acme/vit model.safetensors" in done.stdout
    assert "--random-weights" in done.stdout
    # 0.3 s on an idle machine; the hub client's own retries would take 25 s and more.
    assert time.monotonic() - start < 10
