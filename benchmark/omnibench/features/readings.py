"""What may be read off a frozen encoder; tasks name one, or bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from omnibench.cards import Pool
from omnibench.encoder import NO_CLASS_TOKEN, Encoder
from omnibench.errors import UsageError


@dataclass(frozen=True)
class Reading:
    """A pure function of an encoder and images.

    Args:
        kind: Its name; two readings of one kind are the same function.
        read: A function of a module, whose source file is part of every key: maps an encoder and
            images [B, 3, S, S] in [0, 1] to named tensors [B, ...].
        mixed_precision: Whether it follows the precision of training; others are made in fp32.
    """

    kind: str
    read: Callable[[Encoder, Tensor], Mapping[str, Tensor]]
    mixed_precision: bool = False


def _pooled(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    found = encoder(images)
    columns = {"checkpoint": found.pooled, "avg": found.tokens.mean(dim=1)}
    return columns if found.prefix is None else columns | {"cls": found.prefix[:, 0]}


def _tokens(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    found = encoder(images)
    columns = {"patches": found.tokens}
    return columns if found.prefix is None else columns | {"prefix": found.prefix}


# One forward pass serves every pooling: `checkpoint` [Dp], `avg` [D] and, where there is a class
# token, `cls` [D].
POOLED = Reading("pooled", _pooled)
# `patches` [N, D] and, where there are any, `prefix` [P, D].
TOKENS = Reading("tokens", _tokens, mixed_precision=True)


def require_pool(columns: tuple[str, ...], pool: Pool) -> None:
    """Refuse to pool a class token that an encoder does not have.

    Raises:
        UsageError: If `columns` of `POOLED` lack it.
    """
    if pool not in columns:
        raise UsageError(NO_CLASS_TOKEN)
