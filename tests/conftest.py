"""Small real inputs that several tests share: made once a session, by the same code that users call."""

from pathlib import Path

import pytest

from palpate.data import writer

TRIALS = 48


@pytest.fixture(autouse=True)
def merge_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of the data room merge full blocks at once, as a large data set does."""
    if request.module.__name__.startswith("test_data"):
        monkeypatch.setattr(writer, "KEEP_SINGLE", 0)


@pytest.fixture(scope="session")
def gentle_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collected data set of 48 trials with 8 toys."""
    from palpate.recipes.collection import CollectConfig, collect
    from palpate.recipes.gentle_task import GentleTask
    from palpate.worlds.gentle import GentleConfig

    folder = tmp_path_factory.mktemp("gentle") / "data"
    return collect(CollectConfig(out=folder, trials=TRIALS, seed=3, workers=2, task=GentleTask(world=GentleConfig(n_toys=8))))


@pytest.fixture(scope="session")
def gentle_runs(gentle_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two short training runs on that data: all modalities, and vision with action."""
    from palpate.learning.loop import TrainConfig
    from palpate.recipes.outcome import OutcomeConfig, model_name, train_outcome
    from palpate.recipes.outcome_data import FeatureSettings

    root = tmp_path_factory.mktemp("runs")
    runs = {}
    for modalities in (("vision", "touch", "action"), ("vision", "action")):
        name = model_name(modalities)
        config = OutcomeConfig(
            data=gentle_data,
            out=root / name,
            modalities=modalities,
            folds=2,
            group="object",
            width=64,
            features=FeatureSettings(size=64, crops=1),
            train=TrainConfig(epochs=4, batch_size=32, threads=1),
        )
        runs[name] = train_outcome(config, lambda line: None)
    return runs
