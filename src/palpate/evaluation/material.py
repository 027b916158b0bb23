"""What the sections of the gentle report are written from."""

from dataclasses import dataclass

import numpy as np

from palpate.evaluation.inputs import ClosingZone, ForceTable, GainCurve, GraspTable, RunInfo, TrialPicture
from palpate.evaluation.scores import Study


@dataclass(frozen=True, kw_only=True)
class Material:
    """The results of a run with models named alike and predictions gathered in a study."""

    run: RunInfo
    study: Study
    grasps: tuple[GraspTable, ...]
    forces: ForceTable | None
    pictures: tuple[TrialPicture, ...]
    gain: GainCurve | None
    zone: ClosingZone | None
    first_press_harsh: np.ndarray | None

    @property
    def split(self) -> str | None:
        """The split of the headline; None without predictions."""
        return self.study.splits()[0] if self.study.splits() else None

    def trial_labels(self) -> np.ndarray | None:
        """Return (T, 2) labels, one row a trial; None if neither predictions nor forces hold any."""
        if self.study.tables:
            t = self.study.tables[0]
            _, first = np.unique(t.trial, return_index=True)
            return t.labels[first]
        return None if self.forces is None else self.forces.labels
