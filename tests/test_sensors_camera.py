import numpy as np
import pytest

from palpate.core.errors import PalpateError, RecordError
from palpate.core.transforms import look_at, pose, rotation_z
from palpate.perception.localise import locate_object
from palpate.perception.views import object_view, touch_differential, touch_view
from palpate.sensors.camera import Camera, CameraConfig
from palpate.sensors.geometry import Box, Capsule, Ellipsoid, Sphere

POSE = look_at(np.array([1.15, 0.0, 0.55]), np.array([0.55, 0.0, 0.02]))


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(CameraConfig(world_from_camera=POSE))


def at(x: float, y: float, z: float, turn: np.ndarray | None = None) -> np.ndarray:
    return pose(np.eye(3) if turn is None else turn, np.array([x, y, z]))


def test_projection_and_deprojection_are_inverse(camera):
    point = np.array([0.52, 0.07, 0.03])
    col, row = np.rint(camera.project(point)).astype(int)
    depth = np.zeros((480, 640), np.float32)
    depth[row, col] = np.linalg.inv(POSE)[2] @ [*point, 1]
    mask = depth > 0
    np.testing.assert_allclose(camera.deproject(depth, mask)[0], point, atol=1e-3)  # half a pixel


def test_a_bare_table_lies_at_height_zero(camera):
    _, depth = camera.render([])
    points = camera.deproject(depth, np.ones(depth.shape, bool))
    np.testing.assert_allclose(points[:, 2], 0.0, atol=1e-4)


def test_a_sphere_is_seen_at_its_surface_and_nowhere_else(camera):
    bare = camera.render([])[1]
    _, depth = camera.render([Sphere(world_from_body=at(0.55, 0.05, 0.03), radius=0.03, colour=(1, 0, 0))])
    mask = depth < bare - 1e-5
    distance = np.linalg.norm(camera.deproject(depth, mask) - [0.55, 0.05, 0.03], axis=1)
    np.testing.assert_allclose(distance, 0.03, atol=1e-4)
    assert mask.sum() > 1000


def test_capsules_and_boxes_are_seen_at_their_surface(camera):
    bare = camera.render([])[1]
    turn = rotation_z(0.5)
    for solid in (
        Capsule(world_from_body=at(0.55, 0.0, 0.03, turn), radius=0.012, half_length=0.025),
        Box(world_from_body=at(0.55, 0.0, 0.03, turn), half_sizes=(0.02, 0.03, 0.025)),
    ):
        depth = camera.render([solid])[1]
        mask = depth < bare - 1e-5
        body = (camera.deproject(depth, mask) - [0.55, 0.0, 0.03]) @ turn
        if isinstance(solid, Capsule):
            body[:, 2] -= np.clip(body[:, 2], -solid.half_length, solid.half_length)
            np.testing.assert_allclose(np.linalg.norm(body, axis=1), solid.radius, atol=1e-4)
        else:
            np.testing.assert_allclose(np.max(np.abs(body) / solid.half_sizes, axis=1), 1.0, atol=5e-3)
        assert mask.sum() > 1000


def test_nearer_things_hide_farther_ones(camera):
    near = Box(world_from_body=at(0.7, 0.0, 0.05), half_sizes=(0.005, 0.05, 0.05), colour=(0, 0, 1))
    far = Capsule(world_from_body=at(0.6, 0.0, 0.03), radius=0.01, half_length=0.02, colour=(1, 0, 0))
    for scene in ([near, far], [far, near]):
        rgb, depth = camera.render(scene)
        col, row = np.rint(camera.project(np.array([0.705, 0.0, 0.06]))).astype(int)
        assert rgb[row, col, 2] > rgb[row, col, 0], "the blue box stands in front of the red capsule"
        np.testing.assert_allclose(camera.deproject(depth, depth == depth[row, col])[0][0], 0.705, atol=0.002)


def test_depth_noise_grows_with_the_square_of_the_distance_and_edges_drop_out(camera):
    rng = np.random.default_rng(0)
    ball = Sphere(world_from_body=at(0.6, 0.0, 0.05), radius=0.05, colour=(1, 0, 0))
    clean = camera.render([ball])[1]
    frames = np.array([camera.observe_depth([ball], rng) for _ in range(12)])
    seen = (frames > 0).all(axis=0)
    spread = (frames - clean).std(axis=0)
    c = camera.config
    expected = c.disparity_noise * clean**2 / (c.stereo_focal_px * c.baseline)
    np.testing.assert_allclose(np.median(spread[seen] / expected[seen]), 1.0, atol=0.25)
    assert 0.0005 < (frames == 0).mean() < 0.02


def test_equal_seeds_give_equal_pictures(camera):
    scene = [Sphere(world_from_body=at(0.5, 0.0, 0.03), radius=0.03, colour=(0, 1, 0))]
    one, two = (camera.observe(scene, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert camera.observe(scene, np.random.default_rng(4), with_depth=False)[1] is None


def test_objects_are_located_without_bias(camera):
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(40):
        axes = np.array([0.03, 0.027, 0.036]) * rng.uniform(0.75, 1.25, 3)
        xy = np.array([rng.uniform(0.45, 0.65), rng.uniform(-0.2, 0.2)])
        body = at(*xy, axes[2], rotation_z(rng.uniform(1, 2)))
        empty = camera.observe_depth([], rng)
        placed = camera.observe_depth([Ellipsoid(world_from_body=body, half_axes=tuple(axes), colour=(1, 1, 1))], rng)
        located = locate_object(empty, placed, camera)
        errors.append([*(located.position[:2] - xy), located.position[2] - 2 * axes[2]])
    errors = np.array(errors)
    assert np.abs(errors.mean(axis=0)).max() < 0.0025
    assert errors.std(axis=0).max() < 0.006


def test_an_empty_table_has_no_object(camera):
    rng = np.random.default_rng(2)
    with pytest.raises(PalpateError, match="no object found"):
        locate_object(camera.observe_depth([], rng), camera.observe_depth([], rng), camera)


def test_views_have_one_size_and_keep_the_scale_at_the_border():
    rgb = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    for pixel in ((320, 240), (0, 0), (639, 479), (-50, 900)):
        assert object_view(rgb, np.array(pixel, float)).shape == (256, 256, 3)
    rest = np.full((320, 240, 3), 100, np.uint8)
    assert np.all(touch_view(rest, rest) == 128) and touch_differential(rest, rest) == 0
    assert np.all(touch_view(rest + 20, rest) == 148)
    with pytest.raises(RecordError, match="differ in size"):
        touch_view(rest, rest[:100])
    with pytest.raises(RecordError, match="camera image"):
        object_view(rgb[..., 0], np.zeros(2))
