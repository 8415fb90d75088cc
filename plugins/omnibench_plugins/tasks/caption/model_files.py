"""What the recipe field `language_model` means: from scratch, a repository, or a folder."""

from __future__ import annotations

import re
from pathlib import Path

from omnibench.cards import HubFile, LocalFiles
from omnibench.errors import UsageError

SCRATCH = "scratch"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that a folder has
POSITIONS = 1024  # what every published BART can read and write, in tokens

REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
REMEDY = (
    "Or give a folder that has these files with --set language_model=PATH (beginning with / or .), "
    "or train a small language model with --set language_model=scratch."
)


def files_of(language_model: str) -> HubFile | LocalFiles | None:
    """Return the files of a language model; None for one that is trained from scratch.

    A text that begins with `/`, `.` or `~` is a folder, `owner/name` a repository, wherever the
    command is given.

    Raises:
        UsageError: If the text is none of these.
    """
    if language_model == SCRATCH:
        return None
    if language_model.startswith(("/", ".", "~")):
        folder = Path(language_model).expanduser()
        weights = next((name for name in WEIGHTS if (folder / name).is_file()), WEIGHTS[0])
        return LocalFiles(folder=folder, names=(weights, CONFIG, TOKENIZER))
    if REPOSITORY.fullmatch(language_model):
        return HubFile(
            repo=language_model, filename=WEIGHTS[0], companions=(CONFIG, TOKENIZER), remedy=REMEDY
        )
    raise UsageError(
        f"language_model is {language_model!r}; it is a repository such as facebook/bart-base, a "
        "folder (beginning with / or .), or scratch"
    )


def too_long(merger_tokens: int, text_tokens: int, positions: int) -> str | None:
    """Return what a language model of that many positions cannot read or write, or None.

    Args:
        merger_tokens: K, what its encoder reads.
        text_tokens: The longest text its decoder meets, its start token included.
        positions: Its limit.
    """
    for name, count in (("merger_tokens", merger_tokens), ("a text", text_tokens)):
        if count > positions:
            return (
                f"the language model has {positions} positions, {name} would take {count}; use "
                "fewer --set merger_tokens=N, text_max_length=N or shorter decodings=beamB-N"
            )
    return None
