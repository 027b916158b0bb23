"""Plain baselines on feature vectors: logistic regression and random forest."""

from typing import Literal, get_args

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from palpate.core.errors import DataError, UnknownNameError

BaselineName = Literal["logistic", "forest"]
"""Names of the baselines."""


class Baseline:
    """A binary classifier on standardised features (N, D)."""

    def __init__(self, name: BaselineName, *, seed: int = 0, trees: int = 200, penalty: float = 1.0) -> None:
        """Choose the model.

        Args:
            name: `logistic` (L2, features standardised with training statistics) or `forest`.
            seed: seed of the forest; the logistic regression is deterministic.
            trees: number of trees of the forest.
            penalty: strength of the L2 penalty of the logistic regression (1 / C).

        Raises:
            UnknownNameError: another name.
        """
        if name not in get_args(BaselineName):
            raise UnknownNameError("baseline", name, get_args(BaselineName))
        self.name: BaselineName = name
        self._model: Pipeline | RandomForestClassifier
        if name == "logistic":
            self._model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0 / penalty, max_iter=2000))
        else:
            self._model = RandomForestClassifier(trees, random_state=seed, n_jobs=1)
        self._dimension = 0

    def fit(self, x: np.ndarray, label: np.ndarray) -> "Baseline":
        """Train on features (N, D) and labels (N,) in {0, 1}; returns itself.

        Raises:
            DataError: shapes that do not fit, values that are not finite, or labels of one class only.
        """
        x, label = np.asarray(x, float), np.asarray(label)
        if x.ndim != 2 or label.shape != (len(x),) or not np.isfinite(x).all():
            raise DataError(f"a baseline needs finite features (N, D) and labels (N,); got {x.shape} and {label.shape}")
        if set(np.unique(label)) != {0, 1}:
            raise DataError(f"a baseline needs both outcomes 0 and 1 in training; got {sorted(set(np.unique(label).tolist()))}")
        self._model.fit(x, label.astype(int))
        self._dimension = x.shape[1]
        return self

    def probability(self, x: np.ndarray) -> np.ndarray:
        """Return (N,) float32 probability of label 1.

        Raises:
            DataError: not fitted, or another number of features than in training.
        """
        x = np.asarray(x, float)
        if x.ndim != 2 or x.shape[1] != self._dimension:
            raise DataError(
                f"the {self.name} baseline was fitted on (N, {self._dimension}) features, got {x.shape}; fit it first"
            )
        return np.asarray(self._model.predict_proba(x), np.float32)[:, 1]


def centre_on_calibration(x: np.ndarray, mean: np.ndarray, calibration: np.ndarray | None = None) -> np.ndarray:
    """Return `x` (N, D) minus the mean of `calibration` (K, D), or minus the training mean (D,) if there is none.

    This is the calibration of a plain baseline: trained on features centred on their own recording.
    """
    return x - (mean if calibration is None or len(calibration) == 0 else np.mean(calibration, axis=0))
