import numpy as np
import pytest
import torch
from torch import nn

from palpate.core.errors import RecordError, RunError, UnknownNameError
from palpate.learning import checkpoint as checkpoint_module
from palpate.learning.batches import Arrays, concatenate
from palpate.learning.checkpoint import Run, load_run, load_state, save_run, save_state
from palpate.learning.loop import TrainConfig, autocast, evaluate, fit, masked_bce, predict


class Toy(nn.Module):
    """Two named inputs to two logits, with torch's own dropout."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))
        self.absent = nn.Parameter(torch.zeros(4))

    def forward(self, inputs, presence=None):
        x = inputs["a"].float()
        if presence and "a" in presence:
            x = torch.where(presence["a"][:, None], x, self.absent)
        return self.layers(torch.cat([x, inputs["motion"].float()], dim=1))


def data(seed, n=400):
    rng = np.random.default_rng(seed)
    a, motion = rng.standard_normal((n, 4)).astype(np.float32), rng.standard_normal((n, 2)).astype(np.float32)
    labels = np.stack([a[:, 0] * motion[:, 0] > 0, a[:, 1] > motion[:, 1]], axis=1).astype(np.float32)
    return Arrays(inputs={"a": a, "motion": motion}, labels=labels)


CONFIG = TrainConfig(epochs=4, batch_size=50, learning_rate=0.01, precision="fp32", threads=1)


def test_masked_cross_entropy_ignores_unknown_labels():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 5.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]])
    loss, n = masked_bce(logits, labels)
    # -log sigmoid(0) = log 2; -log(1 - sigmoid(2)) = log(1 + e^2); mean of the two known ones
    np.testing.assert_allclose(loss.item(), (np.log(2.0) + np.log1p(np.exp(2.0))) / 2.0, rtol=1e-6)
    assert n == 2
    loss.backward()
    torch.testing.assert_close(logits.grad[1], torch.zeros(2), rtol=0, atol=0)
    assert masked_bce(logits, torch.full((2, 2), torch.nan))[0].item() == 0.0


def test_unknown_labels_change_nothing_but_the_samples_they_belong_to():
    full = data(0)
    half = Arrays(inputs=full.inputs, labels=np.where(np.arange(400)[:, None] % 2 == 0, full.labels, np.nan))
    net = Toy()
    measured, expected = evaluate(net, half, precision="fp32"), evaluate(net, full.take(np.arange(0, 400, 2)), precision="fp32")
    assert measured.keys() == expected.keys()
    np.testing.assert_allclose(list(measured.values()), list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_toy_problem_is_learned(precision):
    net = Toy()
    config = TrainConfig(epochs=40, batch_size=50, learning_rate=0.01, precision=precision, threads=1)
    history = fit(net, data(0, 1000), config, validation=data(1), progress=False)
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].validation["accuracy"] > 0.85  # chance is 0.25
    np.testing.assert_allclose([r.learning_rate for r in history[:3]], [0.01, 0.0098, 0.009604], rtol=1e-12)
    assert not net.training


def test_training_does_not_touch_the_global_generator_and_repeats_with_the_seed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    nets = [Toy(), Toy(), Toy()]
    torch.manual_seed(5)
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        fit(net, data(0), TrainConfig(epochs=1, batch_size=50, learning_rate=0.01, seed=seed, precision="fp32"), progress=False)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    weights = [net.layers[0].weight for net in nets]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert (weights[0] - weights[2]).abs().max() > 0


class Interruption(Exception):
    pass


def test_a_resumed_training_ends_as_the_uninterrupted_one(tmp_path):
    config = TrainConfig(epochs=5, batch_size=64, learning_rate=0.01, weight_decay=0.1, precision="fp32", checkpoint_period=0.0)
    path = tmp_path / "state.safetensors"
    whole, parts = Toy(), Toy()
    expected = fit(whole, data(0), config, progress=False)

    def stop(record, net):
        if record.epoch == 2:
            raise Interruption

    with pytest.raises(Interruption):
        fit(parts, data(0), config, callbacks=[stop], checkpoint=path, progress=False)
    resumed = Toy(seed=77)  # whatever the weights are at the start, the saved ones count
    history = fit(resumed, data(0), config, checkpoint=path, progress=False)
    assert [r.epoch for r in history] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([r.loss for r in history], [r.loss for r in expected], rtol=1e-6)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not path.exists()


def test_a_training_state_of_other_settings_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "state.safetensors"

    def stop(record, net):
        if record.epoch == 1:
            raise Interruption

    config = TrainConfig(epochs=3, batch_size=50, checkpoint_period=0.0, precision="fp32")
    with pytest.raises(Interruption):
        fit(Toy(), data(0), config, callbacks=[stop], checkpoint=path, progress=False)
    other = TrainConfig(epochs=3, batch_size=25, checkpoint_period=0.0, precision="fp32")
    with pytest.raises(RunError, match="batch_size differ"):
        fit(Toy(), data(0), other, checkpoint=path, progress=False)
    path.write_bytes(b"not a training state")
    with pytest.raises(RunError, match="damaged"):
        fit(Toy(), data(0), config, checkpoint=path, progress=False)


def test_a_loss_that_is_not_finite_stops_the_training_with_advice():
    broken = data(0)
    broken.inputs["a"][3] = np.inf
    with pytest.raises(RunError, match="learning rate"):
        fit(Toy(), broken, CONFIG, progress=False)


def test_predictions_are_probabilities_in_the_order_of_the_samples():
    net, samples = Toy(), data(2, 130)
    out = predict(net, samples, batch_size=50, precision="fp32")
    assert out.shape == (130, 2)
    assert out.dtype == np.float32
    with torch.no_grad():
        expected = torch.sigmoid(net.eval()({name: torch.from_numpy(v) for name, v in samples.inputs.items()}))
    np.testing.assert_allclose(out, expected.numpy(), atol=1e-6)


def test_every_epoch_yields_every_sample_once_in_an_order_that_the_seed_determines():
    samples = data(0, 103)
    epochs = [list(samples.epoch(np.random.default_rng(seed), 20)) for seed in (0, 0, 1)]
    assert [len(batch.labels) for batch in epochs[0]] == [20, 20, 20, 20, 20, 3]
    rows = [np.concatenate([batch.inputs["a"] for batch in epoch]) for epoch in epochs]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(np.sort(rows[2], axis=0), np.sort(samples.inputs["a"], axis=0))


def test_dropped_inputs_are_marked_absent_at_the_given_rate_and_actions_never():
    base = data(0, 2000)
    known = np.arange(2000) % 2 == 0
    samples = Arrays(inputs=base.inputs, labels=base.labels, presence={"a": known}, drop_rate=0.3)
    batches = list(samples.epoch(np.random.default_rng(0), 100))
    present = np.concatenate([batch.presence["a"] for batch in batches])
    assert all(set(batch.presence) == {"a"} for batch in batches)
    assert abs(present.mean() - 0.5 * 0.7) < 0.05
    net = Toy()
    fit(net, samples, CONFIG, progress=False)
    assert net.absent.abs().max() > 0  # it was trained


def test_arrays_refuse_contradictions():
    labels = np.zeros((3, 2))
    with pytest.raises(RecordError, match=r"'a' has 2 rows, the labels have 3"):
        Arrays(inputs={"a": np.zeros((2, 4))}, labels=labels)
    with pytest.raises(RecordError, match="0, 1 or NaN"):
        Arrays(inputs={}, labels=labels + 0.5)
    with pytest.raises(RecordError, match="presence of"):
        Arrays(inputs={"a": np.zeros((3, 4))}, labels=labels, presence={"b": np.ones(3, bool)})


def test_joined_sets_fill_in_the_presence_of_those_without_one():
    plain = data(0, 5)
    masked = Arrays(inputs=plain.inputs, labels=plain.labels, presence={"a": np.zeros(5, bool)})
    joined = concatenate([plain, masked])
    assert len(joined) == 10
    np.testing.assert_array_equal(joined.presence["a"], [True] * 5 + [False] * 5)
    with pytest.raises(RecordError, match="different inputs"):
        concatenate([plain, Arrays(inputs={"b": np.zeros((2, 1))}, labels=np.zeros((2, 2)))])


def test_an_unknown_precision_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="bf16"):
        autocast(torch.device("cpu"), "fp8")


def test_a_run_reads_back_as_it_was_saved(tmp_path):
    net = Toy()
    run = Run(
        net={"width": 32, "inputs": ("a", "motion")},
        train={"epochs": 3},
        metrics={"accuracy": np.float32(0.5), "folds": np.arange(2)},
        weights=net.state_dict(),
        extra={"backbone": "none"},
    )
    save_run(tmp_path / "run", run)
    read = load_run(tmp_path / "run")
    assert read.net == {"width": 32, "inputs": ["a", "motion"]}
    assert read.metrics == {"accuracy": 0.5, "folds": [0, 1]}
    assert read.extra == {"backbone": "none"}
    assert read.versions["torch"].startswith(torch.__version__.split("+")[0])
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(read.weights[name], tensor, rtol=0, atol=0)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["run.json", "weights.safetensors"]


@pytest.mark.parametrize("name", ["run.json", "weights.safetensors"])
def test_an_incomplete_or_damaged_run_is_refused_by_the_name_of_its_file(tmp_path, name):
    save_run(tmp_path, Run(net={}, train={}, metrics={}, weights=Toy().state_dict()))
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(RunError, match="damaged"):
        load_run(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        load_run(tmp_path)


def test_a_failed_write_leaves_the_old_state_and_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_state(path, {"x": torch.ones(2)}, {"step": 1})

    def fail(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint_module, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state(path, {"x": torch.zeros(2)}, {"step": 2})
    tensors, notes = load_state(path)
    assert notes == {"step": 1}
    torch.testing.assert_close(tensors["x"], torch.ones(2), rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
