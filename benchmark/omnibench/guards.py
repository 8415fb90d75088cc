"""Before a run: a few forward passes show that its encoder is what the record will say it is.

The verdict is kept beside the frozen outputs, under the same kind of key, so that it costs a
forward pass only where nothing was known of this encoder at this size.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from omnibench import behaviour, environment
from omnibench.cards import Normalization, Precision
from omnibench.encoder import Encoder
from omnibench.errors import IntegrityError, PluginError, UsageError
from omnibench.features.frozen import FrozenFeatures, digest_of
from omnibench.features.notes import noted
from omnibench.features.readings import TOKENS
from omnibench.handle import EncoderHandle, plugin_blamed
from omnibench.interfaces import RunContext

USUAL_SIZE = 224  # pixels; of recipes that name none


def require_sound(handle: EncoderHandle, recipe: Any, context: RunContext) -> None:
    """Refuse an encoder that breaks its contract, and note the digest of its parameters.

    Whole networks (`end_to_end`) begin anew with every seed and are left alone.

    Args:
        handle: The run's encoder; its `parameters_sha256` is set.
        recipe: Gives normalisation and `image_size`.
        context: Device and precision.

    Raises:
        PluginError: If it breaks its contract, naming what.
        IntegrityError: If weights were asked for and not loaded.
        UsageError: If it cannot encode images of the recipe's size.
    """
    if handle.card.end_to_end:
        return
    size = getattr(recipe, "image_size", None)
    asked = handle, recipe.normalization, context.device, context.precision
    try:
        verdict = _verdict(*asked, size or USUAL_SIZE)
    except UsageError:
        if size:
            raise
        return  # our size does not suit it, and the recipe names none
    handle.parameters_sha256 = verdict["parameters_sha256"]


@functools.lru_cache(maxsize=1)  # as for frozen features: seeds follow each other
def _verdict(
    handle: EncoderHandle,
    normalization: Normalization,
    device: str,
    precision: Precision,
    size: int,
) -> Mapping[str, Any]:
    frozen = FrozenFeatures(
        handle,
        TOKENS,
        normalization=normalization,
        size=size,
        antialias=True,
        device=device,
        precision=precision,
    )
    code = environment.frozen_code((__name__, behaviour.__name__))
    identity = {**frozen.identity, "what": "guard", "checks": code}
    return noted(handle.store, identity, lambda: _judged(frozen))


def _judged(frozen: FrozenFeatures) -> dict[str, Any]:
    """Look at an encoder; return what is noted of a sound one."""
    handle, name = frozen.handle, frozen.handle.card.name
    require_loaded(handle)
    with plugin_blamed(name, "cannot encode images"):
        fault = _first_fault(frozen)
    if fault:
        raise PluginError(
            f"encoder {name!r} breaks its contract: {fault}. `omnibench check {name}` looks at "
            "the rest"
        )
    pristine = handle.build(normalization="own", pool="checkpoint")
    return {"parameters_sha256": parameters_digest(pristine)}


def _first_fault(frozen: FrozenFeatures) -> str | None:
    trial = behaviour.Trial(frozen.encoder, frozen.size, frozen.device)
    try:
        for check in behaviour.CHECKS.values():
            if fault := check(trial):
                return fault
    except PluginError as error:  # raised by `Encoder`, which does not know its card's name
        return str(error)
    if frozen.precision == "fp32":
        return None
    return behaviour.finite_under(frozen.encoder, trial.images, frozen.precision, frozen.device)


def require_loaded(handle: EncoderHandle) -> None:
    """Refuse an encoder whose build function draws what a weights file should have given.

    It is built twice more: from another random stream, where nothing may differ, and at random,
    where not all may be equal.

    Raises:
        IntegrityError: Naming tensors that were drawn.
    """
    if handle.weights.kind not in ("official", "file"):
        return
    name = handle.card.name
    built = handle.build(normalization="own", pool="checkpoint")
    drawn = behaviour.drawn_tensors(built, handle.built_anew("another stream"))
    if drawn:
        raise IntegrityError(
            f"{len(drawn)} of {len(built.state_dict())} tensors of encoder {name!r} are random "
            f"although weights were given ({', '.join(drawn[:3])}{', …' if len(drawn) > 3 else ''}): its "
            "build() did not load them; use omnibench.checkpoint.load_checked there"
        )
    if behaviour.is_random(built, handle.built_anew(random_init=True)):
        raise IntegrityError(
            f"encoder {name!r} has random parameters although weights were given: its build() "
            "did not load the file; use omnibench.checkpoint.load_checked there"
        )


def parameters_digest(encoder: Encoder) -> str:
    """Return the SHA-256 over what a checkpoint of the encoder would hold, names and bits."""
    return digest_of(encoder.state_dict().items())
