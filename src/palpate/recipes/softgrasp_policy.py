"""A trained SoftGrasp policy, or one of its baselines, steering a hand at 30 Hz.

The lift is asked for by the net's lift head, which has learnt from what people felt and saw in the 0.4 s before they lifted. Its
probabilities add up until half that time is full: a policy that is half sure for long lifts too. (Five sure periods in a row were asked for
once: a hesitating policy then went on squeezing, and crushed things that people lift.) A run whose demonstrations tell of no lift, such
as the authors' recording, never asks for one.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from palpate.core.errors import PalpateError, RecordError, RunError
from palpate.core.records import Command, Observation
from palpate.learning.checkpoint import Run, load_run
from palpate.learning.features import extract_features
from palpate.models.backbones import build_backbone
from palpate.models.softgrasp import TOUCH, PolicyNetConfig
from palpate.models.softgrasp_baselines import build_policy
from palpate.models.softgrasp_encoders import FeatureEncoder
from palpate.recipes.softgrasp_data import RECIPE, PictureSettings, small_picture
from palpate.recipes.softgrasp_samples import Scaling
from palpate.recipes.softgrasp_touch import FingerTouch, LiveTouch

ENSEMBLE_DECAY = 0.01
"""Of ACT's temporal ensembling: an action planned i steps earlier than the oldest one that still counts weighs exp(-0.01 i)."""


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """How predictions become commands."""

    smoothing: float = 0.0
    """Share of the last command in the next, 0 to below 1; the hand's own smoothing and limits come after it."""
    lift_periods: float = 6.0
    """The policy lifts when its probabilities of every period so far add up to this: 0.2 s of certainty at 30 Hz."""

    def __post_init__(self) -> None:
        """Refuse what would never move or never lift."""
        if not 0.0 <= self.smoothing < 1.0 or not self.lift_periods > 0.0:
            raise PalpateError(f"smoothing lies in [0, 1), the periods of the lift above 0; got {self}")


class TracedBackbone(nn.Module):
    """The frozen backbone as one traced graph: a picture in 6.5 ms of one core instead of 15, and the same features to 1e-5."""

    def __init__(self, pictures: PictureSettings) -> None:
        """Trace it with one picture of the size that it will see."""
        super().__init__()
        backbone = build_backbone(pictures.backbone).requires_grad_(False)
        picture = torch.zeros(1, pictures.size, pictures.size, 3, dtype=torch.uint8)
        self._graph = [torch.jit.freeze(torch.jit.trace(backbone, picture))]  # in a list: a frozen graph has no mode to switch

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return features (1, F) of a picture (1, H, W, 3) uint8."""
        return self._graph[0](pictures)


class SoftgraspController:
    """Implements `palpate.core.protocols.Controller`.

    A command's `predicted` holds `angles` (J,) in the hand's unit, `lift` (1,) the probability, and where the strategy gives them `torques`
    (J,) and `attention` (3,) to image, angle and torque (Eq. 8-10), (4,) with touch in a policy that was trained on it.
    """

    def __init__(self, folder: Path, settings: ControlSettings | None = None, *, modalities: tuple[str, ...] = ()) -> None:
        """Load a run of `train_softgrasp`.

        Args:
            folder: the run.
            settings: how predictions become commands.
            modalities: use only these; empty for all that the run was trained on.

        Raises:
            RunError: no such run, or one of another recipe.
            PalpateError: a modality that the run was not trained on, or one left out that it cannot do without.
        """
        run = load_run(folder)
        if run.extra.get("recipe") != RECIPE:
            raise RunError(f"{folder} is a run of {run.extra.get('recipe')!r}; one of `palpate train softgrasp` is needed")
        self.folder, self.settings = Path(folder), settings or ControlSettings()
        self.config = PolicyNetConfig.from_dict(run.net)
        self.modalities = self._allowed(modalities or self.config.modalities, run)
        self._may_lack, self._lifts = tuple(run.extra["may_lack"]), bool(run.extra["lifts"])
        self.scaling = Scaling(**{kind: tuple(span) for kind, span in run.extra["scaling"].items()})
        self._frameskip = int(run.extra["frameskip"])
        self.net = build_policy(self.config)
        run.fill(self.net)
        self.net.eval().requires_grad_(False)
        self._pictures = PictureSettings(**run.extra["pictures"])
        frozen = "image" in self.modalities and not self.config.end_to_end
        self._backbone = TracedBackbone(self._pictures) if frozen else None
        felt = FingerTouch.kept(self.folder, run.extra["touch"]) if TOUCH in self.modalities else None
        self._touch = None if felt is None else LiveTouch(felt)
        self.reset(np.random.default_rng(0))

    def _allowed(self, modalities: tuple[str, ...], run: Run) -> tuple[str, ...]:
        trained = self.config.modalities
        unknown = [name for name in modalities if name not in trained]
        if unknown:
            raise PalpateError(
                f"{self.folder} was not trained on {', '.join(unknown)}, only on {', '.join(trained)}; "
                f"train with --modalities {','.join(dict.fromkeys([*trained, *unknown]))}"
            )
        lost = [name for name in trained if name not in modalities and name not in run.extra["may_lack"]]
        if lost:
            raise PalpateError(f"{self.folder} cannot do without {', '.join(lost)}: nothing was ever left out in its training")
        return tuple(modalities)

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode; a policy draws no random numbers."""
        self._seen: deque[dict[str, np.ndarray]] = deque(maxlen=self._frameskip * (self.config.stack - 1) + 1)
        self.chunks: deque[np.ndarray] = deque(maxlen=self.config.chunk)
        self._last: np.ndarray | None = None
        self._sure = 0.0
        if self._touch is not None:
            self._touch.reset()

    def act(self, observation: Observation) -> Command:
        """Predict what the hand should do next, from this observation and those before.

        Raises:
            RecordError: something that the policy needs was not sensed.
        """
        self._seen.append(self._frame(observation))
        out = self._predict()
        if "chunk" in out:
            self.chunks.append(out["chunk"])
            out["angles"] = _ensembled(self.chunks)
        angles = self.scaling.to_unit("angle", out["angles"])
        predicted = {"angles": angles}
        if "torques" in out:
            predicted["torques"] = self.scaling.to_unit("torque", out["torques"])
        if "attention" in out:
            predicted["attention"] = out["attention"].astype(float)
        if self._lifts:
            predicted["lift"] = 1.0 / (1.0 + np.exp(-out["lift"].astype(float).reshape(1)))
            self._sure += float(predicted["lift"][0])
        keep = 0.0 if self._last is None else self.settings.smoothing
        self._last = angles if self._last is None else keep * self._last + (1.0 - keep) * angles
        return Command(joints=self._last.copy(), lift=self._sure >= self.settings.lift_periods, predicted=predicted)

    def _frame(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return what the net takes of one observation, by modality; what was not sensed has no entry."""
        out: dict[str, np.ndarray] = {}
        for name, values in (("angle", observation.joint_position), ("torque", observation.joint_torque)):
            if name in self.modalities and values is not None and np.isfinite(values).all():
                out[name] = self.scaling.to_share(name, values)
        if "image" in self.modalities and observation.camera is not None:
            out["image"] = self._features(small_picture(observation.camera.rgb))
        if self._touch is not None and (felt := self._touch.features(observation)) is not None:
            out[TOUCH] = felt
        lost = [name for name in self.modalities if name not in out and name not in self._may_lack]
        if lost or not out:
            raise RecordError(
                f"the policy {self.folder} needs {', '.join(lost or self.modalities)}, and this observation has none (or not a number)"
            )
        return out

    def _features(self, picture: np.ndarray) -> np.ndarray:
        """Return the features (F,) of a small picture, as the training saw them."""
        if self._backbone is not None:
            return extract_features(self._backbone, picture[None], self._pictures.features(), progress=False)[0, 0]
        encoder = self.net.frames.branches["image"]
        assert isinstance(encoder, FeatureEncoder)
        with torch.inference_mode():
            return encoder.see(torch.from_numpy(picture[None])).numpy()[0]

    def _predict(self) -> dict[str, np.ndarray]:
        """Return the net's outputs for the frames that it sees now; the first stands for those before it."""
        now = len(self._seen) - 1
        frames = [self._seen[max(now - self._frameskip * k, 0)] for k in range(self.config.stack - 1, -1, -1)]
        known = [name for name in self.modalities if all(name in frame for frame in frames)]
        if not known:
            raise RecordError(
                f"the policy {self.folder} has nothing to go by: none of {', '.join(self.modalities)} was sensed throughout"
            )
        inputs: Mapping[str, torch.Tensor] = {
            name: torch.from_numpy(np.stack([frame[name] for frame in frames])[None]) for name in known
        }
        with torch.inference_mode():
            return {name: value[0].numpy() for name, value in self.net(inputs).items()}


def _ensembled(chunks: deque[np.ndarray]) -> np.ndarray:
    """Return the angles (J,) for now: what each chunk (K, J) planned for it, the oldest first, weighted (ACT, Section IV-A)."""
    planned = np.stack([chunk[len(chunks) - 1 - i] for i, chunk in enumerate(chunks)])
    weights = np.exp(-ENSEMBLE_DECAY * np.arange(len(planned)))
    return (weights[:, None] * planned).sum(axis=0) / weights.sum()


def load_softgrasp(folder: Path, settings: ControlSettings | None = None) -> SoftgraspController:
    """Load a run of `train_softgrasp` as a controller."""
    return SoftgraspController(Path(folder), settings)
