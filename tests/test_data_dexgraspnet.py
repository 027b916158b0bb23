from pathlib import Path

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.core.transforms import pose_from_vector
from palpate.data.external.dexgraspnet import JOINTS, PLACE, TURN, object_parts, read_dexgraspnet, read_parts

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "dexgraspnet_shadow"

CUBE = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
SIDES = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]


def cube(name: str, at: float, first: int, sides=SIDES) -> str:
    lines = [f"o {name}"] + [f"v {x + at} {y} {z}" for x, y, z in CUBE]
    return "\n".join(lines + ["f " + " ".join(f"{i + first}/1" for i in side) for side in sides]) + "\n"


def grasp(**changes):
    names = (*reversed(JOINTS), *TURN, *PLACE)
    return {"qpos": {name: 0.01 * k for k, name in enumerate(names)} | changes, "scale": np.float64(np.float32(0.12))}


def write(folder, *grasps, name="thing"):
    np.save(folder / f"{name}.npy", np.array(grasps, dtype=object), allow_pickle=True)


def test_joints_are_looked_up_by_name_and_scales_are_rounded(tmp_path):
    write(tmp_path, grasp(), grasp(**{"robot0:FFJ3": 0.3}))
    first, second = read_dexgraspnet(tmp_path)
    assert (first.object, first.number, second.number, first.scale) == ("thing", 0, 1, 0.12)
    np.testing.assert_allclose(first.joints, 0.01 * np.arange(21, -1, -1), atol=1e-12)
    assert second.joints[JOINTS.index("robot0:FFJ3")] == 0.3


def test_turns_are_about_fixed_axes_x_first(tmp_path):
    write(tmp_path, grasp(WRJRx=np.pi / 2, WRJRy=0.0, WRJRz=np.pi / 2, WRJTx=0.1, WRJTy=0.2, WRJTz=0.3))
    (only,) = read_dexgraspnet(tmp_path)
    np.testing.assert_allclose(
        pose_from_vector(only.palm), [[0, 0, 1, 0.1], [1, 0, 0, 0.2], [0, 1, 0, 0.3], [0, 0, 0, 1]], atol=1e-12
    )


def test_files_that_would_run_code_or_lack_joints_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    for name, entry, words in (
        ("evil", Evil(), "could run any code"),
        ("short", {"qpos": {"robot0:FFJ3": 0.0}, "scale": 0.1}, "grasp 0, robot0:FFJ2: None is not a finite number"),
        ("nan", grasp(WRJTx=float("nan")), "grasp 0, WRJTx"),
        ("other", {"scale": 0.1}, "expected a dict"),
    ):
        write(tmp_path, entry, name=name)
        with pytest.raises(DataError, match=words):
            list(read_dexgraspnet(tmp_path, [name]))
    with pytest.raises(DataError, match="does not exist"):
        list(read_dexgraspnet(tmp_path, ["absent"]))
    with pytest.raises(DataError, match=r"no \.npy file"):
        list(read_dexgraspnet(tmp_path / "nowhere"))


def test_a_mesh_is_split_into_its_parts(tmp_path):
    file = tmp_path / "two.obj"
    file.write_text(cube("left", 0.0, 0) + cube("right", 2.0, 8))
    parts = read_parts(file)
    assert parts.repaired == () and [len(corners) for corners in parts.corners] == [8, 8]
    np.testing.assert_allclose(parts.corners[1].mean(axis=0), [2.5, 0.5, 0.5], atol=1e-12)


def test_a_part_that_is_not_closed_is_refused_by_name_or_repaired_with_a_word(tmp_path):
    file = tmp_path / "open.obj"
    file.write_text(cube("whole", 0.0, 0) + cube("lidless", 2.0, 8, SIDES[:-1]))
    with pytest.raises(DataError, match=r"open\.obj part 'lidless' is not watertight: 4 of 20 half edges"):
        read_parts(file)
    parts = read_parts(file, repair=True)
    assert len(parts.repaired) == 1 and "lidless" in parts.repaired[0] and "convex hull" in parts.repaired[0]
    assert len(parts.corners[1]) == 8


def test_meshes_of_wrong_form_are_refused(tmp_path):
    flat = "o flat\n" + "".join(f"v {x} {y} 0\n" for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))) + "f 1 2 3 4\nf 4 3 2 1\n"
    for name, text, words in (
        ("flat", flat, "part 'flat' is flat"),
        ("empty", "o nothing\n", "holds no mesh"),
        ("words", "v a b c\n", "row 1"),
        ("far", "o x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "names a vertex"),
    ):
        file = tmp_path / f"{name}.obj"
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read_parts(file)


def test_the_published_grasps_are_read():
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    grasps = list(read_dexgraspnet(SHARED))
    assert len(grasps) == 451
    assert {g.scale for g in grasps} == {0.06, 0.08, 0.10, 0.12, 0.15}
    for name, count in (("core-mug-8570d9a8d24cb0acbebd3c0c0c70fb03", 27), ("ddg-gd_banana_poisson_002", 4)):
        parts = object_parts(SHARED, name)
        assert len(parts.corners) == count and not parts.repaired
        assert max(float(np.abs(corners).max()) for corners in parts.corners) < 1.0
