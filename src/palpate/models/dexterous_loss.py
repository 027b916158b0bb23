"""What the dexterous net is trained to: the slides' sum of losses, with unknown targets masked.

First estimation: pose + q + status + joints; second: q + status + joints (slides, Section 2.2). Pose and joints are imitated only
where the grasp succeeded, since a failed grasp is no example: the data leave their targets NaN otherwise.

Of M hypotheses the nearest to the example learns, winner takes all, and the others with a small share, so that none dies
(Rupprecht et al., "Learning in an Uncertain World", ICCV 2017); the choice logits learn which one wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from palpate.models.dexterous import POSITION_SCALE, rotations


@dataclass(frozen=True, kw_only=True)
class GraspObjective:
    """Weights of the terms. They bring each to about the same size at the start."""

    grip: float = 1.0
    choice: float = 0.2
    quality: float = 3.0
    status: float = 1.0
    others: float = 0.05
    """Share of the hypotheses that did not win."""

    def loss(self, outputs: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """Return the sum of the terms, each a mean over the samples whose target is known, and the number of samples.

        Targets: `labels` (B, 1) status; `quality` (B,); `joints` (B, J) [rad]; `position` (B, 3) [m] and `rotation` (B, 3, 3).
        """
        labels, q = targets["labels"][:, 0], targets["quality"]
        status = functional.binary_cross_entropy_with_logits(outputs["status"], _filled(labels), reduction="none")
        quality = functional.smooth_l1_loss(torch.sigmoid(outputs["quality"]), _filled(q), beta=0.1, reduction="none")
        each, winner = hypothesis_errors(outputs, targets)
        m = each.shape[1]
        share = torch.full_like(each, self.others / m).scatter_add_(1, winner[:, None], torch.full_like(each, 1 - self.others))
        choice = functional.cross_entropy(outputs["choice"], winner, reduction="none")
        grip = self.grip * (share * each).sum(dim=1) + self.choice * choice
        known = ~torch.isnan(targets["joints"]).any(dim=1)
        total = (
            _mean(grip, known)
            + self.quality * _mean(quality, ~torch.isnan(q))
            + self.status * _mean(status, ~torch.isnan(labels))
        )
        return total, len(labels)

    def measure(self, outputs: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return `loss`."""
        return {"loss": float(self.loss(outputs, targets)[0])}


def hypothesis_errors(
    outputs: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far each hypothesis is from the example (B, M), and which is nearest (B,); without a pose, by joints alone."""
    joints = _filled(targets["joints"])[:, None].expand_as(outputs["joint_angles"])
    each = 3.0 * functional.smooth_l1_loss(outputs["joint_angles"], joints, beta=0.1, reduction="none").mean(dim=2)
    if "pose" in outputs:
        position, columns = outputs["pose"][..., :3], outputs["pose"][..., 3:]
        off = functional.smooth_l1_loss(
            position, _filled(targets["position"])[:, None].expand_as(position), beta=0.01, reduction="none"
        )
        turned = (rotations(columns) - _filled(targets["rotation"])[:, None]).square().sum(dim=(2, 3))
        each = each + off.sum(dim=2) / POSITION_SCALE + torch.sqrt(turned / 2 + 1e-6)  # the chord 2 sin(angle / 2)
    return each, each.detach().argmin(dim=1)


def _filled(targets: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(targets)  # what was unknown is masked; a NaN would spoil the gradient even with weight zero


def _mean(each: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return torch.where(known, each, 0.0).sum() / max(int(known.sum()), 1)
