"""The trained dexterous networks in use: the first estimate before the object is touched, the second when it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from palpate.core.errors import PalpateError, RunError
from palpate.core.records import Observation
from palpate.core.transforms import pose, vector_from_pose
from palpate.learning.calibration import calibrate
from palpate.learning.checkpoint import load_run
from palpate.models.dexterous import DexterousNet, DexterousNetConfig, rotations
from palpate.recipes.dexterous_data import ViewSettings, net_inputs
from palpate.worlds.shadow import coupled


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What a net says of N samples."""

    status: np.ndarray
    """(N,) probability, not calibrated."""
    quality: np.ndarray
    """(N,) q."""
    joints: np.ndarray
    """(N, M, J) [rad]."""
    choice: np.ndarray
    """(N, M) probability that a hypothesis is the one."""
    position: np.ndarray | None = None
    """(N, M, 3) of the palm relative to the object [m]; None in stage `after`."""
    rotation: np.ndarray | None = None
    """(N, M, 3, 3) world from palm."""


def decode(outputs: Mapping[str, torch.Tensor]) -> Estimates:
    """Return a net's outputs as numbers to use."""
    position, rotation = None, None
    if "pose" in outputs:
        position = outputs["pose"][..., :3].numpy()
        rotation = rotations(outputs["pose"][..., 3:]).numpy()
    return Estimates(
        status=torch.sigmoid(outputs["status"]).numpy(),
        quality=torch.sigmoid(outputs["quality"]).numpy(),
        joints=outputs["joint_angles"].numpy(),
        choice=torch.softmax(outputs["choice"], dim=1).numpy(),
        position=position,
        rotation=rotation,
    )


def weights_of(weights: Mapping[str, torch.Tensor], stage: str) -> dict[str, torch.Tensor]:
    """Return the weights of one stage of a run, which holds both."""
    return {name.removeprefix(f"{stage}."): tensor for name, tensor in weights.items() if name.startswith(f"{stage}.")}


@dataclass(frozen=True, kw_only=True)
class GraspGuess:
    """One grasp that Grip-Net offers."""

    hand_pose: np.ndarray
    """(6,) of the palm in the world: x, y, z [m] and a rotation vector [rad]."""
    joints: np.ndarray
    """(22,) targets [rad], within the ranges and coupled as the tendons couple them."""
    probability: float
    """That it is the one to take."""


@dataclass(frozen=True, kw_only=True)
class FirstEstimate:
    """What is thought before the object is touched."""

    hand_pose: np.ndarray
    """(6,) of the palm in the world, as in `GraspGuess`."""
    joints: np.ndarray
    """(22,) targets [rad]."""
    quality: float
    """q to expect of a grasp like those of the training data."""
    status: float
    """Calibrated probability that such a grasp succeeds."""
    alternatives: tuple[GraspGuess, ...]
    """All that Grip-Net offers, the likeliest (the one above) first."""


@dataclass(frozen=True, kw_only=True)
class SecondEstimate:
    """What is thought when the object is touched."""

    quality: float
    status: float
    """Calibrated probability of success."""
    joints: np.ndarray
    """(22,) targets [rad] that a grasp which succeeds would have here."""


class DexterousModel:
    """A trained run: the first estimate from a picture, the second from picture, joints and touch. Nothing absent is imputed."""

    def __init__(self, folder: Path) -> None:
        """Load a run.

        Raises:
            RunError: the run is incomplete, or of another recipe.
        """
        run = load_run(folder)
        if run.extra.get("recipe") != "dexterous":
            raise RunError(f"{folder} is a run of {run.extra.get('recipe')!r}; one of `palpate train dexterous` is needed")
        self.folder, self.extra = folder, run.extra
        self._views = ViewSettings(**run.extra["views"])
        self._nets: dict[str, DexterousNet] = {}
        for stage, values in run.net.items():
            net = DexterousNet(DexterousNetConfig.from_dict(values))
            run.fill(net, f"{stage}.")
            self._nets[stage] = net.eval().requires_grad_(False)

    def first(self, observation: Observation) -> FirstEstimate:
        """Return the first estimate.

        Raises:
            PalpateError: perception has not found the object, or nothing that the net takes was sensed.
        """
        found = self._estimate("before", observation)
        at = observation.object_position
        if at is None or found.position is None or found.rotation is None:
            raise PalpateError("the first estimate is relative to the object: the observation needs object_position")
        guesses = tuple(
            GraspGuess(
                hand_pose=vector_from_pose(pose(found.rotation[0, m].astype(float), at + found.position[0, m])),
                joints=coupled(found.joints[0, m]),
                probability=float(found.choice[0, m]),
            )
            for m in np.argsort(-found.choice[0], kind="stable")
        )
        return FirstEstimate(
            hand_pose=guesses[0].hand_pose,
            joints=guesses[0].joints,
            quality=float(found.quality[0]),
            status=self._calibrated("before", found.status),
            alternatives=guesses,
        )

    def second(self, observation: Observation) -> SecondEstimate:
        """Return the second estimate; PalpateError if nothing that the net takes was sensed."""
        found = self._estimate("after", observation)
        return SecondEstimate(
            quality=float(found.quality[0]),
            status=self._calibrated("after", found.status),
            joints=coupled(found.joints[0, int(np.argmax(found.choice[0]))]),
        )

    def _estimate(self, stage: str, observation: Observation) -> Estimates:
        if stage not in self._nets:
            raise RunError(
                f"{self.folder} has no weights of stage {stage!r}; train it: palpate train dexterous --stage {stage}"
            )
        net = self._nets[stage]
        arrays = {
            n: torch.from_numpy(a[None]) for n, a in net_inputs(observation, self._views).items() if n in net.config.arrays
        }
        with torch.inference_mode():
            return decode(net(arrays))

    def _calibrated(self, stage: str, status: np.ndarray) -> float:
        platt = self.extra["platt"].get(stage)
        return float(status[0]) if platt is None else float(calibrate(status[:, None], [platt])[0, 0])


def load_dexterous(folder: Path) -> DexterousModel:
    """Load a run of `train_dexterous`."""
    return DexterousModel(Path(folder))
