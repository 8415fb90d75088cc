"""The pair: a student that learns from masked crops, and a teacher that follows it.

One step of OmniRad, Sec. 3.1: global crops only. Numbers in brackets are the steps of one
iteration: the teacher sees whole crops [1], its predictions are centred [2], the student sees
masked ones [3], losses compare them [4], the teacher follows [5].
"""

from __future__ import annotations

import copy
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from omnirad.centring import MovingCentre, ScaledLogits, sinkhorn_offset
from omnirad.comm import Comm, NullComm
from omnirad.drop_path import DropPath, draw_drop_path
from omnirad.errors import IntegrityError, UsageError
from omnirad.losses import Targets, gram_loss, koleo_loss, prototype_loss
from omnirad.measures import TargetMeasures, measure
from omnirad.model import create_model
from omnirad.randomness import derive, torch_generator
from omnirad.recipe import PretrainRecipe
from omnirad.student import Projections, Student

CROPS = 2  # global crops of an image


@dataclass(frozen=True)
class Measures:
    """What collapse monitors look at, of this rank's crops; nothing has a gradient."""

    dino: TargetMeasures  # of the class tokens' targets
    ibot: TargetMeasures  # of the masked patches' targets
    teacher_cls: Tensor  # [2b, D], crop 1 of all images, then crop 2
    teacher_patches: Tensor  # [2b, N, D]
    student_cls: Tensor  # [2b, D], of the masked crops


@dataclass(frozen=True)
class Losses:
    """The losses of one step on this rank. Only `total` has a gradient; terms are unweighted."""

    total: Tensor
    dino: Tensor  # mean CE over class tokens; near ln K at the start
    ibot: Tensor  # mean over crops, unmasked ones count 0; about half of that
    koleo: Tensor  # 0 where its weight is 0
    gram: Tensor  # likewise
    measures: Measures | None


class Hidden(NamedTuple):
    """What the student does not see."""

    masks: Tensor  # bool [2b, N]
    positions: Tensor  # flat indices of the masked tokens [m]
    weights: Tensor  # of each in the iBOT loss: 1 / (tokens masked in its crop · 2b), [m]


def hide(masks: Tensor, device: torch.device) -> Hidden:
    """List the masked tokens of masks that are on the CPU, and copy all to the device."""
    each = 1 / (masks.sum(dim=1).clamp(min=1) * len(masks))
    parts = masks, masks.flatten().nonzero().flatten(), each[:, None].expand_as(masks)[masks]
    return Hidden(*(part.to(device, non_blocking=True) for part in parts))


class StudentTeacher:
    """A student and its teacher.

    Args:
        student: On its device.
        recipe: What is computed.
        seed: The run's; drop path is a function of (seed, step, rank).
        comm: Collectives; by default this process alone.
        precision: `bf16` computes the networks and logits under autocast; softmaxes, losses and
            norms stay fp32.
    """

    def __init__(
        self,
        student: Student,
        recipe: PretrainRecipe,
        *,
        seed: int,
        comm: Comm | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.student = student
        self.teacher = frozen_copy(student)
        self.recipe = recipe
        self.seed = seed
        self.comm = comm or NullComm()
        self.precision = precision
        self.anchor: Student | None = None  # the Gram teacher, once there is one
        self.centres: nn.ModuleDict | None = None
        if recipe.centring == "softmax":
            kinds = ("dino", "ibot")
            centres = {kind: MovingCentre(recipe.prototypes) for kind in kinds}
            self.centres = nn.ModuleDict(centres).to(self.device)
        self._run_student: nn.Module = student

    @property
    def device(self) -> torch.device:
        """Where both networks are."""
        return self.student.mask_token.device

    def distribute(self) -> None:
        """Average the student's gradients over the ranks of the default process group."""
        ids = [self.device.index] if self.device.type == "cuda" else None
        self._run_student = nn.parallel.DistributedDataParallel(
            self.student, device_ids=ids, gradient_as_bucket_view=True
        )

    def losses(
        self,
        crops: Tensor,
        masks: Tensor,
        *,
        step: int,
        teacher_temp: float,
        measured: bool = False,
    ) -> Losses:
        """Compute the losses of one step; `total.backward()` reaches the student only.

        Args:
            crops: Normalised [2b, 3, S, S], crop 1 of all images, then crop 2.
            masks: Bool [2b, N], on the CPU, so that the number of masked tokens is known without
                waiting for the device (`masking.draw_masks`).
            step: Of the run, from 0.
            teacher_temp: τ_t of this step.
            measured: Fill `measures`, which costs another softmax.

        Raises:
            UsageError: If the shapes do not fit.
        """
        require_shapes(crops, masks, self.student)
        hidden = hide(masks, crops.device)
        return self.compute(crops, hidden, step=step, teacher_temp=teacher_temp, measured=measured)

    def compute(
        self, crops: Tensor, hidden: Hidden, *, step: int, teacher_temp: float, measured: bool
    ) -> Losses:
        """Compute `losses` of masks that are on the device; checks nothing, waits for nothing."""
        drop_path = self._drop_path(len(crops), step)
        with self._autocast():
            with torch.no_grad():
                taught = self.teacher(crops, hidden.positions)  # [1]
                dino_targets, ibot_targets = self._targets(taught, teacher_temp)  # [2]
            learnt = self._run_student(crops, hidden.positions, hidden.masks, drop_path)  # [3]
            terms = self._terms(learnt, dino_targets, ibot_targets, hidden.weights, crops)  # [4]
            measures = None
            if measured:
                with torch.no_grad():
                    found = measure(dino_targets), measure(ibot_targets)
                measures = Measures(*found, taught.cls, taught.patches, learnt.cls.detach())
        recipe = self.recipe
        total = (
            recipe.dino_weight * recipe.dino_global_scale * terms["dino"]
            + recipe.ibot_weight * terms["ibot"]
            + recipe.koleo_weight * terms["koleo"]
            + recipe.gram_weight * terms["gram"]
        )
        return Losses(total, **{n: t.detach() for n, t in terms.items()}, measures=measures)

    def _terms(
        self,
        learnt: Projections,
        dino_targets: Targets,
        ibot_targets: Targets,
        weights: Tensor,
        crops: Tensor,
    ) -> dict[str, Tensor]:
        """Return the four unweighted losses, zero where a weight is zero."""
        zero = torch.zeros((), device=crops.device)
        even = torch.full_like(learnt.cls_vectors[:, 0], 1 / len(crops))
        dino = self._logits(learnt.cls_vectors, learnt.cls_prototypes, self.recipe.student_temp)
        ibot = self._logits(learnt.patch_vectors, learnt.patch_prototypes, self.recipe.student_temp)
        views = learnt.cls.chunk(CROPS)
        return {
            "dino": prototype_loss(dino, dino_targets, even),
            "ibot": prototype_loss(ibot, ibot_targets, weights.to(even.dtype)),
            "koleo": cast(Tensor, sum(koleo_loss(view) for view in views))
            if self.recipe.koleo_weight
            else zero,
            "gram": self._gram(learnt.patches, crops) if self.anchor is not None else zero,
        }

    def _targets(self, taught: Projections, temperature: float) -> tuple[Targets, Targets]:
        """Centre the teacher's logits. Row r of the class tokens is the other crop of row r."""
        swapped = torch.cat(taught.cls_vectors.chunk(CROPS)[::-1])
        dino = self._logits(swapped, taught.cls_prototypes, temperature)
        ibot = self._logits(taught.patch_vectors, taught.patch_prototypes, temperature)
        return self._centred(dino, "dino"), self._centred(ibot, "ibot")

    def _centred(self, logits: ScaledLogits, kind: str) -> Targets:
        if self.centres is None:
            offset = sinkhorn_offset(logits, self.recipe.sinkhorn_iterations, self.comm)
        else:
            offset = cast(MovingCentre, self.centres[kind]).offset(logits, self.comm)
        return Targets(logits, offset)

    def _logits(self, vectors: Tensor, prototypes: Tensor, temperature: float) -> ScaledLogits:
        return ScaledLogits(vectors, prototypes, temperature, self.recipe.chunk_rows)

    def _drop_path(self, crops: int, step: int) -> DropPath:
        return draw_drop_path(
            self.recipe.drop_path,
            self.recipe.drop_path_mode,
            branches=2 * self.student.depth,
            samples=crops,
            generator=torch_generator("drop path", self.seed, step, self.comm.rank),
            device=self.device,
        )

    def _gram(self, patches: Tensor, crops: Tensor) -> Tensor:
        with torch.no_grad():
            _, anchored = cast(Student, self.anchor).encode(crops)
        return gram_loss(patches, anchored)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher, θ_t ← m θ_t + (1 - m) θ_s over every parameter [5]; copy buffers."""
        teacher, student = list(self.teacher.parameters()), list(self.student.parameters())
        get_ema_multi_avg_fn(momentum)(teacher, student, None)  # type: ignore[no-untyped-call]
        for kept, new in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            kept.copy_(new)

    def refresh_anchor(self) -> None:
        """Take today's teacher as the Gram anchor (`Schedules.gram_refresh`)."""
        self.anchor = frozen_copy(self.teacher)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes, but the optimiser's state."""
        return {name: module.state_dict() for name, module in self._parts().items()}

    def _parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module | None] = {
            "student": self.student,
            "teacher": self.teacher,
            "centres": self.centres,
            "anchor": self.anchor,
        }
        return {name: module for name, module in parts.items() if module is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            IntegrityError: If it belongs to another recipe.
        """
        if "anchor" in state and self.anchor is None:
            self.refresh_anchor()
        parts = self._parts()
        if parts.keys() != state.keys():
            raise IntegrityError(
                f"the checkpoint holds {', '.join(state)}, this recipe needs {', '.join(parts)}; "
                "resume with the recipe it was made with"
            )
        try:
            for name, module in parts.items():
                module.load_state_dict(state[name])
        except RuntimeError as error:
            raise IntegrityError(
                f"the checkpoint's networks are of another recipe ({str(error).splitlines()[1]}); "
                "resume with the recipe it was made with"
            ) from error


def require_shapes(crops: Tensor, masks: Tensor, student: Student) -> None:
    """Raise `UsageError` unless crops come in pairs and masks have one entry a patch."""
    patch = cast(Any, student.encoder).patch_embed.patch_size[0]
    wanted = (len(crops), (crops.shape[-2] // patch) * (crops.shape[-1] // patch))
    if len(crops) % CROPS or not len(crops):
        raise UsageError(f"{len(crops)} crops are no pairs; give crop 1 of all images, then crop 2")
    if tuple(masks.shape) != wanted or masks.dtype != torch.bool:
        raise UsageError(
            f"masks are {masks.dtype} {tuple(masks.shape)}; crops of {tuple(crops.shape)} need "
            f"bool {wanted}"
        )


def frozen_copy(student: Student) -> Student:
    """Return an exact copy in eval mode that takes no gradient."""
    return copy.deepcopy(student).eval().requires_grad_(False)


def build_student(
    recipe: PretrainRecipe,
    *,
    seed: int,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
) -> Student:
    """Build the student of a recipe; what is random is a function of the seed alone.

    Args:
        recipe: Size, heads, and whether weights are loaded.
        seed: The run's.
        weights: Initial weights, as in `create_model`; needed where the recipe's `init` says so.
        device: Where it is put.

    Raises:
        UsageError: If weights are missing, or given to a recipe that starts from random ones.
    """
    if recipe.init == "weights" and weights is None:
        raise UsageError(
            "this recipe starts from DINOv2's weights: give a file or 'dinov2' (from the hub), or "
            "say that you want to start from random weights (preset scratch, or init=random)"
        )
    if recipe.init == "random" and weights is not None:
        raise UsageError(
            f"this recipe starts from random weights, but {os.fspath(weights)!r} is given; leave "
            "it out, or set init=weights"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("initialisation", seed))
        encoder = create_model(
            recipe.size,
            weights,
            img_size=recipe.crop_size,
            dynamic_img_size=True,
            layer_scale=recipe.layer_scale,
            antialias=recipe.position_interpolation == "antialias",
        )
        student = Student(encoder, recipe)
    return student.to(device)
