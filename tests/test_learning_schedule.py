import numpy as np
import pytest
import torch
from torch import nn

from palpate.core.errors import RunError, UnknownNameError
from palpate.learning.batches import Arrays
from palpate.learning.checkpoint import load_state
from palpate.learning.loop import fit
from palpate.learning.schedule import TrainConfig, rate_factor


class Line(nn.Module):
    """One linear layer that notes what the loop tells it."""

    draws = True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.told, self.drawn = [], []

    def progress(self, share):
        self.told.append(share)

    def forward(self, inputs, presence=None):
        if "draw" in inputs:
            self.drawn.append(inputs["draw"].numpy())
        return self.layer(inputs["x"])


def data(n=40):
    x = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    return Arrays(inputs={"x": x}, labels=(x[:, :1] > 0).astype(np.float32))


def factors(schedule, positions, epochs=10, warmup=0.0):
    return [rate_factor(schedule, p, epochs, decay=0.5, warmup=warmup) for p in positions]


def test_the_exponential_schedule_falls_after_whole_epochs_only():
    np.testing.assert_allclose(factors("exponential", [0.0, 0.9, 1.0, 3.5]), [1.0, 1.0, 0.5, 0.125])


def test_linear_and_cosine_schedules_rise_over_the_warm_up_and_fall_to_zero():
    positions = [0.5, 1.0, 2.0, 6.0, 11.0]
    np.testing.assert_allclose(factors("linear", positions, 11, 1.0), [0.5, 1.0, 0.9, 0.5, 0.0], atol=1e-12)
    # (1 + cos(pi * 0.1)) / 2 after a tenth of what follows the warm-up
    np.testing.assert_allclose(factors("cosine", positions, 11, 1.0), [0.5, 1.0, 0.97552826, 0.5, 0.0], atol=1e-8)
    np.testing.assert_allclose(factors("linear", [0.0, 5.0]), [1.0, 0.5])


def test_a_training_follows_its_schedule_and_tells_the_net_how_far_it_is():
    net, rates = Line(), []
    config = TrainConfig(epochs=4, batch_size=10, learning_rate=0.1, schedule="linear", warmup_epochs=1.0, precision="fp32")
    fit(net, data(), config, callbacks=[lambda record, _: rates.append(record.learning_rate)], progress=False)
    np.testing.assert_allclose(net.told, (np.arange(16) + 0.5) / 16, atol=1e-9)  # the middle of each of 16 steps
    np.testing.assert_allclose(
        rates, [0.0875, 0.1 * 2.125 / 3, 0.1 * 1.125 / 3, 0.1 * 0.125 / 3], rtol=1e-6
    )  # of each last step


def test_every_sample_of_a_training_batch_gets_a_number_that_the_seed_determines():
    runs = []
    for seed, epochs in ((0, 2), (0, 1), (1, 1)):
        net = Line()
        fit(
            net,
            data(),
            TrainConfig(epochs=epochs, batch_size=15, seed=seed, precision="fp32"),
            validation=data(),
            progress=False,
        )
        runs.append(np.concatenate(net.drawn))
    assert [len(run) for run in runs] == [80, 40, 40]  # none in evaluation
    assert runs[0].dtype == np.int64 and len(set(runs[0].tolist())) == 80
    np.testing.assert_array_equal(runs[0][:40], runs[1])
    assert not np.array_equal(runs[1], runs[2])


def test_a_long_gradient_is_cut_to_the_length_allowed():
    moved = []
    for clip in (None, 1e-12):
        net = Line()
        before = net.layer.weight.detach().clone()
        fit(net, data(), TrainConfig(epochs=1, learning_rate=0.1, gradient_clip=clip, precision="fp32"), progress=False)
        moved.append((net.layer.weight.detach() - before).abs().max().item())
    assert moved[0] > 0.09  # Adam's first step is the learning rate
    assert moved[1] < 1e-4  # far below its epsilon of 1e-8


@pytest.mark.parametrize("parts", [2, 3, 40, 100])
def test_a_batch_in_parts_gives_the_same_training_where_labels_are_missing(parts):
    samples = data()
    labels = np.where(np.arange(40)[:, None] % 3 == 0, np.nan, samples.labels)
    samples = Arrays(inputs=samples.inputs, labels=labels)
    runs = []
    for accumulate in (1, parts):
        net = Line()
        config = TrainConfig(epochs=3, batch_size=16, learning_rate=0.01, accumulate=accumulate, precision="fp32")
        runs.append((fit(net, samples, config, progress=False), net.layer.weight.detach()))
    np.testing.assert_allclose([r.loss for r in runs[1][0]], [r.loss for r in runs[0][0]], rtol=1e-6)
    np.testing.assert_allclose(runs[1][1], runs[0][1], atol=1e-6)


def test_dropout_is_the_same_in_both_passes_of_a_part():
    class Dropped(Line):
        def forward(self, inputs, presence=None):
            kept = torch.rand(len(inputs["x"]), 1) < 0.5
            self.told.append(kept.sum().item())
            return self.layer(inputs["x"]) * kept

    net = Dropped()
    net.progress = lambda share: net.told.append("step")
    fit(net, data(32), TrainConfig(epochs=1, batch_size=32, accumulate=2, precision="fp32"), progress=False)
    assert net.told[0] == "step" and net.told[1:3] == net.told[3:5] and len(net.told) == 5


def test_a_training_that_depends_on_its_length_is_not_resumed_with_another(tmp_path):
    class Stop(Exception):
        pass

    def stop(record, net):
        if record.epoch == 1:
            raise Stop

    path = tmp_path / "state.safetensors"
    settings = {"batch_size": 10, "precision": "fp32", "checkpoint_period": 0.0}
    with pytest.raises(Stop):
        fit(
            Line(),
            data(),
            TrainConfig(epochs=3, schedule="cosine", **settings),
            callbacks=[stop],
            checkpoint=path,
            progress=False,
        )
    with pytest.raises(RunError, match="epochs differ"):
        fit(Line(), data(), TrainConfig(epochs=5, schedule="cosine", **settings), checkpoint=path, progress=False)
    wider = Line()
    wider.layer = nn.Linear(3, 2)
    with pytest.raises(RunError, match="another net"):
        fit(wider, data(), TrainConfig(epochs=3, schedule="cosine", **settings), checkpoint=path, progress=False)


def test_a_loss_that_is_not_finite_ends_a_training_before_it_is_saved(tmp_path):
    samples = data()
    samples.inputs["x"][7] = np.inf
    path = tmp_path / "state.safetensors"
    config = TrainConfig(epochs=1, batch_size=4, checkpoint_period=0.0, precision="fp32")
    with pytest.raises(RunError, match="lower the learning rate"):
        fit(Line(), samples, config, checkpoint=path, progress=False)
    assert not path.exists() or all(torch.isfinite(tensor).all() for tensor in load_state(path)[0].values())


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UnknownNameError, match="cosine, exponential, linear"):
        TrainConfig(schedule="stairs")
    with pytest.raises(RunError, match="shorter than the training of 2"):
        TrainConfig(epochs=2, warmup_epochs=2.0)
    with pytest.raises(RunError, match="1 part or more"):
        TrainConfig(accumulate=0)
