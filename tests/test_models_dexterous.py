"""The dexterous net: which parts run, what absence means, and what its objective teaches."""

import numpy as np
import pytest
import torch
from torch import nn

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.learning.batches import Batch
from palpate.learning.loop import TrainConfig, evaluate, fit, run_net
from palpate.models import dexterous
from palpate.models.dexterous import HEADS, STAGE_INPUTS, DexterousNet, DexterousNetConfig, rotations
from palpate.models.dexterous_loss import GraspObjective, hypothesis_errors

FINGERS = ("ff", "mf", "th")
TRAIN = TrainConfig(epochs=1, batch_size=8, learning_rate=0.01, weight_decay=0.1, precision="fp32", threads=1)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**more):
    shape = {
        "joint_low": (-0.5, 0.0, 0.1),
        "joint_high": (0.5, 1.5, 0.2),
        "fingers": FINGERS,
        "taxels": (4, 3),
        "image_size": 16,
    }
    return DexterousNetConfig(
        **{**shape, "width": 16, "layers": 1, "attention_heads": 2, "dropout": 0.0, "hypotheses": 3, **more}
    )


def net(seed=0, **more):
    torch.manual_seed(seed)
    return DexterousNet(config(**more)).eval()


def arrays(n=6, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.normal(0, 0.03, (n, 18, 18)).astype(np.float16)
    depth[:, :3] = np.nan
    return {
        "rgb": rng.integers(0, 255, (n, 18, 18, 3), np.uint8),
        "depth": depth,
        "place": rng.normal(size=(n, 5)).astype(np.float32),
        "joints": rng.normal(size=(n, 3)).astype(np.float32),
        **{f"touch.{f}": rng.normal(size=(n, 4, 3)).astype(np.float32) for f in FINGERS},
    }


def tensors(values):
    return {name: torch.from_numpy(np.array(array)) for name, array in values.items()}


def run(model, inputs, presence=None):
    with torch.no_grad():
        return model(tensors(inputs), tensors(presence or {}))


def assert_equal(a, b):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)


def targets(n, seed=0, good=True):
    rng = np.random.default_rng(seed)
    nothing = 0.0 if good else np.nan
    rotation = np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(n)])
    return {
        "position": (rng.normal(0, 0.05, (n, 3)) + nothing).astype(np.float32),
        "rotation": (rotation + nothing).astype(np.float32),
        "joints": (np.tile([0.1, 0.7, 0.15], (n, 1)) + nothing).astype(np.float32),
        "quality": rng.random(n).astype(np.float32),
    }


class Source:
    """Samples of the loop, in memory."""

    def __init__(self, inputs, labels, targets):
        self.inputs, self.labels, self.targets = inputs, labels.astype(np.float32), targets

    def __len__(self):
        return len(self.labels)

    def batch(self, rows):
        def cut(values):
            return {k: v[rows] for k, v in values.items()}

        return Batch(inputs=cut(self.inputs), labels=self.labels[rows], targets=cut(self.targets))

    def epoch(self, rng, batch_size):
        order = rng.permutation(len(self))
        yield from (self.batch(order[i : i + batch_size]) for i in range(0, len(order), batch_size))


@pytest.mark.parametrize("stage", ["before", "after"])
def test_disabled_branches_and_heads_are_neither_run_nor_trained(stage):
    model = net(stage=stage)
    parts = {**{f"branch {n}": b for n, b in model.branches.items()}, **{f"head {n}": h for n, h in model.heads.items()}}
    calls = dict.fromkeys(parts, 0)

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    for name, part in parts.items():
        part.register_forward_hook(count(name))
    before = {name: torch.cat([p.detach().flatten().clone() for p in part.parameters()]) for name, part in parts.items()}
    labels = np.random.default_rng(1).integers(0, 2, (24, 1))
    fit(model, Source(arrays(24), labels, targets(24)), TRAIN, objective=GraspObjective(), progress=False)
    enabled = {*(f"branch {n}" for n in STAGE_INPUTS[stage]), *(f"head {n}" for n in HEADS[stage])}
    assert {name for name, n in calls.items() if n} == enabled
    assert {n.split()[1] for n in set(parts) - enabled} == ({"joints", "touch"} if stage == "before" else {"pose"})
    for name, part in parts.items():
        moved = (torch.cat([p.detach().flatten() for p in part.parameters()]) - before[name]).abs().max()
        assert (moved > 0) == (name in enabled), name


def test_an_absent_finger_is_masked_whatever_its_rows_hold_and_is_not_a_finger_that_feels_nothing():
    model, inputs = net(stage="after"), arrays()
    absent = {"touch.mf": np.array([False] * 3 + [True] * 3)}
    expected = run(model, inputs, absent)
    garbage = {**inputs, "touch.mf": np.where(absent["touch.mf"][:, None, None], inputs["touch.mf"], np.nan).astype(np.float32)}
    assert_equal(run(model, garbage, absent), expected)
    without = {name: array for name, array in inputs.items() if name != "touch.mf"}
    out = run(model, without)
    torch.testing.assert_close(out["status"][:3], expected["status"][:3], rtol=1e-5, atol=1e-6)
    zeros = run(model, {**inputs, "touch.mf": np.zeros_like(inputs["touch.mf"])})
    assert (zeros["status"] - out["status"]).abs().min() > 1e-4


@pytest.mark.parametrize("name", ["rgb", "depth", "place", "joints"])
def test_a_modality_without_presence_is_one_that_was_left_out(name):
    model, inputs = net(stage="after"), arrays()
    left_out = run(model, {k: v for k, v in inputs.items() if k != name})
    assert_equal(run(model, inputs, {name: np.zeros(6, bool)}), left_out)
    assert (run(model, inputs)["quality"] - left_out["quality"]).abs().min() > 1e-5


def test_an_absent_row_of_nan_does_not_spoil_the_gradients():
    model, inputs = net(stage="after").train(), arrays()
    inputs["joints"][2] = np.nan
    present = {"joints": np.arange(6) != 2}
    loss, _ = GraspObjective().loss(
        model(tensors(inputs), tensors(present)), {"labels": torch.ones(6, 1), **tensors(targets(6))}
    )
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_nothing_sensed_is_refused_and_so_are_small_pictures():
    with pytest.raises(PalpateError, match="nothing to look at"):
        run(net(), {"joints": arrays()["joints"]})
    with pytest.raises(PalpateError, match="larger views"):
        run(net(image_size=32), arrays())


def test_a_hole_in_depth_is_not_the_objects_own_depth():
    model, inputs = net(inputs=("depth",)), arrays()
    flat = {"depth": np.where(np.isnan(inputs["depth"]), np.float16(0), inputs["depth"])}
    holes = run(model, {"depth": inputs["depth"]})["quality"]
    assert torch.isfinite(holes).all()
    assert (run(model, flat)["quality"] - holes).abs().min() > 1e-5


def test_texture_and_depth_are_cropped_at_the_same_place_in_training_and_in_the_middle_else(monkeypatch):
    model = net()
    seen = {}
    for name in ("rgb", "depth"):
        model.branches[name].register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    ramp = np.add.outer(np.arange(40), 2.0 * np.arange(40))[None]
    inputs = {"rgb": np.repeat(ramp[..., None], 3, axis=3).astype(np.uint8), "depth": (ramp / 1000).astype(np.float16)}
    corners = set()
    monkeypatch.setattr(dexterous, "_recoloured", lambda images: images)
    for mode in (True, True, True, True, False):
        run(model.train(mode), inputs)
        levels, depth = (seen["rgb"][0, 0] + 2) * 64, seen["depth"][0, 0] * 50
        torch.testing.assert_close(levels, depth, rtol=1e-3, atol=0.1)
        corners.add(round(float(levels[0, 0])))
    assert round(float(levels[0, 0])) == 12 * 3 and len(corners) > 2


def test_colours_are_exchanged_in_training_and_left_alone_else():
    model = net(inputs=("rgb",))
    seen = []
    model.branches["rgb"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    rgb = np.zeros((40, 16, 16, 3), np.uint8) + np.array([0, 128, 255], np.uint8)
    run(model, {"rgb": rgb})
    run(model.train(), {"rgb": rgb})
    plain, mixed = (pixels[:, :, 0, 0] for pixels in seen)
    torch.testing.assert_close(plain, torch.tensor([-2.0, 0.0, 255 / 64 - 2]).expand(40, 3), rtol=0, atol=1e-6)
    assert len({tuple(row) for row in mixed.argsort(dim=1).tolist()}) == 6  # every order
    assert mixed.abs().max() < 1.3 * 2 + 1e-5


def test_joints_stay_within_their_ranges_and_rotations_are_rotations():
    model = net()
    with torch.no_grad():
        for head in model.heads.values():
            head.weight.mul_(1000)
    out = run(model, arrays(40))
    joints = out["joint_angles"].numpy()
    assert joints.shape == (40, 3, 3)
    assert np.all((joints >= np.float32([-0.5, 0.0, 0.1])) & (joints <= np.float32([0.5, 1.5, 0.2])))
    assert np.ptp(joints[..., 1]) > 1.4
    turned = rotations(out["pose"][..., 3:])
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3).expand_as(turned), rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(40, 3), rtol=0, atol=1e-4)


def test_touch_is_encoded_by_one_encoder_that_knows_the_finger():
    encoder = net(stage="after").branches["touch"]
    taxels = torch.randn(1, 1, 4, 3).expand(1, 3, 4, 3)
    with torch.no_grad():
        told = encoder(taxels)[0]
        assert (told[0] - told[1]).abs().max() > 0.1
        encoder.finger.zero_()
        encoder.name.zero_()
        told = encoder(taxels)[0]
    torch.testing.assert_close(told[0], told[2], rtol=0, atol=1e-6)


def test_a_failed_grasp_is_not_imitated_and_unknown_labels_teach_nothing():
    model, inputs = net().train(), tensors(arrays(4))
    wanted = {"labels": torch.zeros(4, 1), **tensors(targets(4, good=False))}
    loss, n = GraspObjective().loss(model(inputs), wanted)
    loss.backward()
    assert n == 4
    for name in ("pose", "joint_angles", "choice"):
        assert not model.heads[name].weight.grad.any(), name
    assert model.heads["status"].weight.grad.any() and model.heads["quality"].weight.grad.any()
    unknown = {**wanted, "labels": torch.full((4, 1), torch.nan), "quality": torch.full((4,), torch.nan)}
    assert GraspObjective().loss(model(inputs), unknown)[0].item() == 0.0


def test_the_loss_is_the_sum_of_its_terms():
    outputs = {
        "pose": torch.tensor([[[0.03, 0, 0, 0, 1, 0, -1, 0, 0], [1.0, 0, 0, 1, 0, 0, 0, -1, 0]]]),  # a quarter turn about z
        "joint_angles": torch.tensor([[[0.5, 0.0], [1.5, 1.5]]]),
        "choice": torch.zeros(1, 2),
        "quality": torch.zeros(1),
        "status": torch.zeros(1),
    }
    wanted = {
        "labels": torch.ones(1, 1),
        "quality": torch.tensor([0.8]),
        "joints": torch.zeros(1, 2),
        "position": torch.zeros(1, 3),
        "rotation": torch.eye(3)[None],
    }
    each, winner = hypothesis_errors(outputs, wanted)
    near = 3 * (0.5 - 0.05) / 2 + (0.03 - 0.005) / 0.05 + 2 * np.sin(np.pi / 4)
    np.testing.assert_allclose(each[0, 0].item(), near, rtol=1e-5)
    assert winner.item() == 0
    objective = GraspObjective(others=0.1)
    grip = 0.95 * near + 0.05 * each[0, 1].item()
    expected = grip + 0.2 * np.log(2) + 3.0 * (0.3 - 0.05) + np.log(2)
    np.testing.assert_allclose(objective.loss(outputs, wanted)[0].item(), expected, rtol=1e-5)
    later = {name: part for name, part in outputs.items() if name != "pose"}
    np.testing.assert_allclose(hypothesis_errors(later, wanted)[0][0, 0].item(), 3 * 0.45 / 2, rtol=1e-5)


def test_of_two_good_grasps_two_hypotheses_learn_both_and_one_their_useless_middle():
    rng = np.random.default_rng(0)
    n = 256
    sign = rng.choice([-1.0, 1.0], n).astype(np.float32)
    wanted = targets(n)
    wanted["position"] = np.stack([0.1 * sign, 0 * sign, 0 * sign], axis=1)
    wanted["rotation"] = np.stack([np.diag([s, s, 1.0]) for s in sign]).astype(np.float32)  # half a turn about z, or none
    place = rng.normal(size=(n, 5)).astype(np.float32)
    off = {}
    for m in (1, 2):
        model = net(inputs=("place",), hypotheses=m)
        model.fit_normalisation({"place": place}, {})
        train = TrainConfig(epochs=12, batch_size=32, learning_rate=0.01, precision="fp32", threads=1)
        source = Source({"place": place}, np.ones((n, 1)), wanted)
        history = fit(model, source, train, objective=GraspObjective(), validation=source, progress=False)
        position = run_net(model, source)["pose"][..., 0].numpy()
        off[m] = np.abs(position - wanted["position"][:, :1]).min(axis=1).mean()
        assert history[-1].validation["loss"] < history[0].validation["loss"]
    assert off[2] < 0.01 < 0.05 < off[1]


def test_hypotheses_start_where_they_are_told():
    model, wanted = net(inputs=("place",)), targets(3)
    model.start_at(wanted["position"], wanted["rotation"], wanted["joints"])
    out = run(model, {"place": arrays(4)["place"]})
    assert np.abs(out["pose"][..., :3].numpy() - wanted["position"]).max() < 0.01
    assert np.abs(out["joint_angles"].numpy() - wanted["joints"]).max() < 0.1
    assert np.abs(rotations(out["pose"][..., 3:])[..., :2].numpy() - wanted["rotation"][..., :2]).max() < 0.3


class Imitator(nn.Module):
    """Two named outputs from one input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict({"joints": nn.Linear(3, 2), "torques": nn.Linear(3, 1)})

    def forward(self, inputs, presence=None):
        return {name: layer(inputs["state"]) for name, layer in self.layers.items()}


class Huber:
    """Imitation of named outputs."""

    def loss(self, outputs, targets):
        terms = [nn.functional.huber_loss(outputs[name], targets[name]) for name in outputs]
        return torch.stack(terms).sum(), len(targets["joints"])

    def measure(self, outputs, targets):
        return {f"error.{name}": float((outputs[name] - targets[name]).abs().mean()) for name in outputs}


def test_the_one_loop_also_imitates_by_an_objective_of_its_own():
    rng = np.random.default_rng(0)
    state = rng.normal(size=(200, 3)).astype(np.float32)
    wanted = {"joints": state[:, :2] + state[:, 2:], "torques": 2 * state[:, :1]}
    source, model = Source({"state": state}, np.empty((200, 0)), wanted), Imitator()
    before = evaluate(model, source, objective=Huber())
    history = fit(
        model,
        source,
        TrainConfig(epochs=30, batch_size=20, learning_rate=0.03, precision="fp32", threads=1),
        objective=Huber(),
        validation=source,
        progress=False,
    )
    after = history[-1].validation
    assert set(after) == {"error.joints", "error.torques"}
    assert all(after[name] < 0.05 < before[name] for name in after)


def test_configurations_survive_json_and_bad_ones_are_refused():
    made = config(stage="after", inputs=("joints", "touch"))
    assert DexterousNetConfig.from_dict({k: list(v) if isinstance(v, tuple) else v for k, v in made.to_dict().items()}) == made
    assert made.arrays == ("joints", "touch.ff", "touch.mf", "touch.th")
    with pytest.raises(RunError, match="unknown keys"):
        DexterousNetConfig.from_dict({"smell": 1})
    with pytest.raises(UnknownNameError, match="allowed: depth, joints, place, rgb, touch"):
        config(inputs=("smell",))
    with pytest.raises(UnknownNameError, match="stage"):
        config(stage="during")
    with pytest.raises(PalpateError, match="stage 'before' runs"):
        config(inputs=("touch",))
    with pytest.raises(PalpateError, match="low end"):
        config(joint_low=(0.5, 0.0, 0.1))
    with pytest.raises(PalpateError, match="hypotheses"):
        config(hypotheses=0)
