"""Captions to token ids and back: a language model's own tokenizer, or one trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from omnibench.errors import IntegrityError

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # BART's first five ids, in order
VOCABULARY = 4000  # of a tokenizer trained here
PROBE = "Chest X-ray: 2 cm nodule (arrow), no effusion."


@dataclass(frozen=True)
class Ids:
    """Ids that mean something to the language model."""

    bos: int = 0
    pad: int = 1
    eos: int = 2


class CaptionTokenizer:
    """Texts as token ids with begin and end, cut to a length.

    Args:
        backend: Adds begin and end by itself.
        ids: Which ids these are.
        max_length: Tokens kept, begin and end included.
    """

    def __init__(self, backend: Tokenizer, ids: Ids, max_length: int) -> None:
        backend.no_padding()
        backend.enable_truncation(max_length)
        backend.encode_special_tokens = True  # a caption that says "<s>" means these characters
        self.backend = backend
        self.ids = ids

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `<s> … </s>` of each text."""
        return [found.ids for found in self.backend.encode_batch(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    @property
    def size(self) -> int:
        """Number of tokens it knows."""
        return int(self.backend.get_vocab_size())


def read_tokenizer(path: Path, ids: Ids, max_length: int) -> CaptionTokenizer:
    """Read `tokenizer.json`.

    Raises:
        IntegrityError: If it cannot be read, or does not write what the language model reads.
    """
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise IntegrityError(f"{path} is no tokenizer file ({error}); fetch it again") from error
    tokenizer = CaptionTokenizer(backend, ids, max_length=10 * len(PROBE))
    [probe] = tokenizer.encode([PROBE])
    # Transformers 5 builds five-token vocabularies from files it was not given the right way.
    if (probe[0], probe[-1]) != (ids.bos, ids.eos) or tokenizer.decode(probe) != PROBE:
        raise IntegrityError(
            f"{path} does not belong to this language model: of {PROBE!r} it makes "
            f"{tokenizer.decode(probe)!r}, beginning with id {probe[0]} and ending with "
            f"{probe[-1]}, where {ids.bos} and {ids.eos} are meant. Save it with "
            "AutoTokenizer.from_pretrained(…).save_pretrained(FOLDER)"
        )
    return CaptionTokenizer(backend, ids, max_length)


def train_tokenizer(texts: Sequence[str], max_length: int) -> CaptionTokenizer:
    """Train byte-level BPE of at most 4,000 tokens; the same texts give the same tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    ids = Ids()
    backend.post_processor = processors.RobertaProcessing(
        (SPECIAL[ids.eos], ids.eos), (SPECIAL[ids.bos], ids.bos), add_prefix_space=False
    )
    return CaptionTokenizer(backend, ids, max_length)
