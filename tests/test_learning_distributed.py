import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from palpate.learning.distributed import Team, join, leads

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from safetensors.torch import save_file
from palpate.learning.batches import Batch
from palpate.learning.distributed import leads
from palpate.learning.loop import TrainConfig, fit
from palpate.models.touch_alignment import align_loss
from palpate.models.touch_encoder import uniform

out = Path(sys.argv[1])

class Pairs:  # 41 = 5 batches of 8 and one of 1, which is too little for two processes
    def __len__(self):
        return 41
    def epoch(self, rng, size):
        x = np.random.default_rng(0).standard_normal((41, 2, 5)).astype(np.float32)
        order = rng.permutation(41)
        for start in range(0, 41, size):
            part = x[order[start:start + size]]
            yield Batch(inputs={"a": part[:, 0], "b": part[:, 1]}, labels=np.empty((len(part), 0), np.float32))

class Net(nn.Module):
    draws = True
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second, self.rare = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(5, 6)
        self.scale = nn.Parameter(torch.tensor(0.5))
    def forward(self, inputs, presence=None):
        a = self.first(inputs["a"]) * (uniform(inputs["draw"], 6) < 0.5)
        rows = inputs["a"][:, 0] > 1.0
        if rows.any():  # takes part in some shares only
            a = a + rows[:, None] * self.rare(inputs["a"])
        return {"a": a, "b": self.second(inputs["b"]), "scale": self.scale.expand(len(a))}

class Contrast:
    def loss(self, outputs, targets):
        n = len(outputs["a"])
        return align_loss(outputs["a"], outputs["b"], torch.ones(n, dtype=torch.bool), outputs["scale"].mean()), n
    def measure(self, outputs, targets):
        return {}

told = []
config = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01, gradient_clip=1.0, precision="fp32", threads=1, device="cpu",
                     schedule="linear", checkpoint_period=0.0)
for name, seed in (("first", int(sys.argv[2])), ("second", 0)):
    net = Net(seed)
    history = fit(net, Pairs(), config, objective=Contrast(), callbacks=[lambda r, n: told.append(r.epoch)],
                  checkpoint=out / f"{name}.state", progress=False)
    if leads():
        save_file(net.state_dict(), out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps([r.loss for r in history]))
(out / f"told{len(told)}").touch()
"""


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(folder, launcher, seed="0"):
    folder.mkdir()
    script = folder / "train.py"
    script.write_text(SCRIPT.replace("int(sys.argv[2])", seed))
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder)], capture_output=True, text=True, timeout=300, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_two_processes_train_like_one_at_the_same_batch(tmp_path: Path):
    one = run(tmp_path / "one", [])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two = run(tmp_path / "two", launcher, seed="10 * int(__import__('os').environ['RANK'])")  # others start as the first does
    for name in ("first", "second"):
        losses = [json.loads((folder / f"{name}.json").read_text()) for folder in (one, two)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
        weights = [load_file(folder / f"{name}.safetensors") for folder in (one, two)]
        for key in weights[0]:
            np.testing.assert_allclose(weights[1][key], weights[0][key], atol=1e-5, err_msg=key)
        assert not (two / f"{name}.state").exists()
    assert (two / "told6").exists() and (two / "told0").exists()  # the callbacks of the first process only


def test_shares_cover_a_batch_once_in_order_and_differ_by_one_at_most():
    for size in (1, 2, 3, 7):
        for n in (0, 1, 6, 20):
            shares = [Team(rank, size).share(n) for rank in range(size)]
            assert [i for share in shares for i in range(n)[share]] == list(range(n))
            lengths = [share.stop - share.start for share in shares]
            assert max(lengths) - min(lengths) <= 1


def test_one_process_is_a_team_of_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    team, device = join("cpu")
    assert (team, device) == (Team(), torch.device("cpu")) and leads()
    rows = torch.arange(4.0, requires_grad=True)
    gathered = team.gather(rows, 4)
    np.testing.assert_array_equal(gathered, rows.detach())
    assert not gathered.requires_grad
