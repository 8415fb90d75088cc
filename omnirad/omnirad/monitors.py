"""Is the run learning, or collapsing? Numbers beside the loss, and alarms when they are bad.

An alarm warns; at the third time in a row it ends the run. Two only ever warn, since a healthy
run shows them in its first epochs: a loss near ln K, and targets that are nearly uniform. What
makes them fatal is a falling rank, and that has an alarm of its own.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omnirad.errors import RunFailed
from omnirad.student_teacher import Losses, Measures

logger = logging.getLogger(__name__)

STRIKES = 3
ROWS = 2048  # features whose rank is taken
WINDOW = 5  # observations, in which prototypes count as used
WARN_ONLY = ("loss_uniform", "targets_uniform")


@dataclass(frozen=True)
class Thresholds:
    """What a healthy run does not reach. Entropies are shares of ln K."""

    loss_margin: float = 0.005  # distance of the DINO loss from ln K, as a share of it
    uniform_entropy: float = 0.98
    sharp_entropy: float = 0.02
    marginal_entropy: float = 0.2
    usage: float = 0.01  # share of prototypes
    cls_std: float = 0.1
    rank_share: float = 0.5  # of the best rank so far


class Monitors:
    """Watches one rank's steps.

    Args:
        prototypes: K.
        armed_from: Step before which nothing is an alarm: the end of warm-up.
        thresholds: When something is.
    """

    def __init__(
        self, prototypes: int, *, armed_from: int, thresholds: Thresholds | None = None
    ) -> None:
        self.ceiling = math.log(prototypes)
        self.prototypes = prototypes
        self.armed_from = armed_from
        self.thresholds = thresholds or Thresholds()
        self._cls: Tensor | None = None  # the latest class tokens [≤ ROWS, D]
        self._patches: Tensor | None = None  # of the latest observation [≤ ROWS, D]
        self._assigned: deque[Tensor] = deque(maxlen=WINDOW)
        self._best_rank = 0.0
        self._strikes: Counter[str] = Counter()

    def observe(self, losses: Losses, measures: Measures) -> dict[str, float]:
        """Return what can be told of one step at little cost."""
        cls, patches = measures.teacher_cls.float(), measures.teacher_patches.float()
        kept = cls.cpu() if self._cls is None else torch.cat([self._cls, cls.cpu()])
        self._cls = kept[-ROWS:]
        rows = patches.flatten(0, 1)
        self._patches = rows[:: max(1, len(rows) // ROWS)][:ROWS].cpu()
        assigned = torch.cat([measures.dino.assigned, measures.ibot.assigned])
        self._assigned.append(torch.unique(assigned).cpu())
        entropy = float(measures.dino.entropy)
        return {
            "target_entropy": entropy,
            "ibot_target_entropy": float(measures.ibot.entropy),
            "kl": float(losses.dino) - entropy * self.ceiling,
            "marginal_entropy": float(measures.dino.marginal_entropy),
            "prototype_usage": len(torch.unique(torch.cat([*self._assigned]))) / self.prototypes,
            "cls_std": cls_std(cls),
            **patch_similarity(cls, patches),
        }

    def ranks(self) -> dict[str, float]:
        """Return RankMe of the latest class tokens and patches, which costs two SVDs."""
        if self._cls is None or self._patches is None:
            return {}
        return {"rank_cls": rank_me(self._cls), "rank_patches": rank_me(self._patches)}

    def judge(self, step: int, values: dict[str, float]) -> list[str]:
        """Return what is alarming, for the log, and count strikes.

        Args:
            step: Of the run.
            values: `dino` and what `observe` and `ranks` returned.

        Raises:
            RunFailed: At the third strike in a row.
        """
        if step < self.armed_from:
            return []
        self._best_rank = max(self._best_rank, values["rank_cls"])
        found = self._alarms(values)
        self._strikes = Counter({name: self._strikes[name] + 1 for name in found})
        for name, sentence in found.items():
            logger.warning("step %d: %s (%d in a row)", step, sentence, self._strikes[name])
            if self._strikes[name] >= STRIKES and name not in WARN_ONLY:
                raise RunFailed(
                    f"step {step}: {sentence}, {STRIKES} times in a row: the features collapse. "
                    "The checkpoints before are kept; try a koleo_weight of 0.1, a higher momentum "
                    "or a lower base_lr"
                )
        return list(found)

    def _alarms(self, values: dict[str, float]) -> dict[str, str]:
        limits, entropy = self.thresholds, values["target_entropy"]
        lowest = limits.rank_share * self._best_rank
        conditions = {
            "loss_uniform": (
                abs(values["dino"] - self.ceiling) <= limits.loss_margin * self.ceiling,
                f"the DINO loss {values['dino']:.3f} is still ln K = {self.ceiling:.3f}",
            ),
            "targets_uniform": (
                entropy > limits.uniform_entropy,
                f"target entropy {entropy:.3f} ln K: the targets are uniform",
            ),
            "targets_sharp": (
                entropy < limits.sharp_entropy,
                f"target entropy {entropy:.3f} ln K: each target is one prototype",
            ),
            "marginal": (
                values["marginal_entropy"] < limits.marginal_entropy,
                f"marginal entropy {values['marginal_entropy']:.3f} ln K: few prototypes take all",
            ),
            "usage": (
                values["prototype_usage"] < limits.usage,
                f"only {values['prototype_usage']:.2%} of the prototypes are used",
            ),
            "cls_std": (
                values["cls_std"] < limits.cls_std,
                f"spread {values['cls_std']:.3f} of class tokens: all images look alike",
            ),
            "rank": (
                values["rank_cls"] < lowest,
                f"rank {values['rank_cls']:.1f} of class tokens, the best was {self._best_rank:.1f}",
            ),
        }
        return {name: sentence for name, (bad, sentence) in conditions.items() if bad}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know to judge alike."""
        return {
            "cls": self._cls,
            "patches": self._patches,
            "assigned": list(self._assigned),
            "best_rank": self._best_rank,
            "strikes": dict(self._strikes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._cls, self._patches = state["cls"], state["patches"]
        self._assigned = deque(state["assigned"], maxlen=WINDOW)
        self._best_rank = state["best_rank"]
        self._strikes = Counter(state["strikes"])


def cls_std(features: Tensor) -> float:
    """Return √D · mean_d std_i of the unit vectors of [B, D]: 1 if spread evenly, 0 if all equal."""
    spread = F.normalize(features, dim=1).std(dim=0).mean()
    return float(spread) * math.sqrt(features.shape[1])


def rank_me(features: Tensor) -> float:
    """Return exp H(σ / Σσ + 1e-7) over singular values of the uncentred features [B, D].

    RankMe (Garrido et al. 2023, eq. 1-2); centred features give other values.
    """
    values = torch.linalg.svdvals(features)
    shares = values / values.sum() + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def patch_similarity(cls: Tensor, patches: Tensor) -> dict[str, float]:
    """Return mean cosines; a steady rise says that dense features degrade.

    Args:
        cls: Class tokens [B, D].
        patches: Patch tokens [B, N, D].
    """
    c, p = F.normalize(cls, dim=1), F.normalize(patches, dim=2)
    count = p.shape[1]
    pairs = (p.sum(dim=1).square().sum(dim=1) - count) / max(1, count * (count - 1))
    return {
        "cls_patch_cosine": float((p @ c[:, :, None]).mean()),
        "patch_patch_cosine": float(pairs.mean()),
    }
