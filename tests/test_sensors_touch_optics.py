import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from palpate.core.errors import DataError, RecordError, UnknownNameError
from palpate.sensors.touch import shading
from palpate.sensors.touch.calibrate import fit_optics
from palpate.sensors.touch.darkness import fit_darkness
from palpate.sensors.touch.imprint import ball_profile, ball_sunk
from palpate.sensors.touch.optics import Darkness, Lamps, Optics, Slopes, Spread, load_optics, stencil
from palpate.sensors.touch.presses import Presses, check_labels, find_circle, read_ball_presses, taxim_presses
from palpate.sensors.touch.scores import press_score
from palpate.sensors.touch.workbench import FitPlan

SHARED = Path(__file__).parents[1].parent / "shared"
SHAPE, PITCH = (240, 320), (60e-6, 60e-6)
GRID, CELL = (60, 80), (240e-6, 240e-6)


def rest_of(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).integers(60, 180, (*shape, 3), dtype=np.uint8)


def fitted_stages(seed=0):
    rng = np.random.default_rng(seed)
    exponents, taps = shading.powers(3), stencil(3)
    size = 40.0 / exponents.sum(axis=1)[:, None, None, None]
    return (
        Slopes(exponents=exponents, weights=(rng.normal(size=(len(exponents), 3, 3, 3)) * size).astype(np.float32)),
        Spread(taps=taps, weights=rng.normal(0, 0.5, (len(taps), 3, 3)).astype(np.float32)),
    )


def lamps(**changes):
    given = {
        "azimuth_deg": np.array([0.0, 120.0, 240.0]),
        "elevation_deg": np.full(3, 30.0),
        "colour": np.eye(3) * 90,
    }
    return Lamps(**(given | changes))


DARK = Darkness(depth=np.array([-1e-4, 0.0, 2e-3]), change=np.array([[15.0] * 3, [0.0] * 3, [-60.0] * 3]))
ALL = {
    "fitted": fitted_stages(),
    "lamps": (lamps(shadow=0.8, vignette=0.3, falloff=np.array([0.2])),),
    "darkness": (DARK,),
    "mixed": (lamps(), DARK),
}


def optics(stages=ALL["fitted"]):
    return Optics(shape=SHAPE, pitch=PITCH, stages=stages)


def press(radius=1.2e-3, centre=(40, 30), grid=GRID, cell=CELL):
    return ball_sunk(grid, cell, centre, radius, ball_radius=2.4e-3, thickness=3e-3)


class TestImprint:
    def test_the_ball_on_a_half_space_is_hertz_outside_the_contact_too(self):
        r = np.array([0.0, 0.5, 1.0, 1.3, 2.0, 5.0])
        sunk, approach = ball_profile(1000.0, 1.0, np.inf, 0.3, r)
        out = np.maximum(r, 1.0)
        hertz = np.where(r < 1, 1 - r**2 / 2, ((2 - out**2) * np.arcsin(1 / out) + np.sqrt(out**2 - 1)) / np.pi) / 1000
        np.testing.assert_allclose(sunk, hertz, rtol=2e-5)
        assert approach == pytest.approx(1e-3, rel=1e-5)

    def test_a_thick_layer_tends_to_the_half_space(self):
        at = np.linspace(0, 3, 30)
        half, _ = ball_profile(3.0, 1.0, np.inf, 0.45, at)
        errors = [np.abs(ball_profile(3.0, 1.0, h, 0.45, at)[0] - half).max() for h in (5.0, 20.0, 80.0)]
        assert errors[0] > 3 * errors[1] > 9 * errors[2]

    def test_the_surface_is_continuous_at_the_edge_and_follows_the_ball_inside(self):
        at = np.array([0.0, 0.7, 1 - 1e-7, 1 + 1e-7])
        sunk, approach = ball_profile(1.5, 1.0, 1.2, 0.48, at)
        np.testing.assert_allclose(sunk[:3], approach - (1.5 - np.sqrt(1.5**2 - at[:3] ** 2)), rtol=1e-9)
        assert sunk[3] == pytest.approx(sunk[2], abs=2e-5)

    def test_an_almost_incompressible_thin_layer_bulges_and_keeps_its_volume(self):
        at = np.linspace(0, 12, 500)
        sunk, _ = ball_profile(4.0, 1.0, 1.0, 0.5, at)
        assert sunk.min() < -0.02 * sunk.max()
        volume = np.trapezoid(sunk * at, at)
        assert abs(volume) < 0.02 * np.trapezoid(np.abs(sunk) * at, at)

    def test_sizes_must_be_positive(self):
        with pytest.raises(RecordError, match="must be positive"):
            ball_profile(1.0, 0.0, 1.0, 0.4, np.zeros(1))


class TestOptics:
    @pytest.mark.parametrize("name", list(ALL))
    def test_no_contact_gives_the_rest_image_bit_for_bit(self, name):
        rest = rest_of()
        np.testing.assert_array_equal(optics(ALL[name]).render(rest, np.zeros(GRID), CELL), rest)

    @pytest.mark.parametrize("name", list(ALL))
    def test_every_stage_is_zero_on_a_flat_gel_even_without_the_short_cut(self, name):
        one = optics(ALL[name])
        relief = one.relief(np.zeros(GRID, np.float32))
        out = np.zeros((*SHAPE, 3), np.float32)
        for stage in one.stages:
            stage.add(relief, out)
        np.testing.assert_allclose(out, 0, atol=1e-5)

    @pytest.mark.parametrize("name", list(ALL))
    def test_a_batch_equals_its_parts_and_a_press_is_seen(self, name):
        one = optics(ALL[name])
        sunk = np.stack([press(), 0 * press(), press(0.8e-3, (20, 25))]).reshape(3, 1, *GRID)
        change = one.difference(sunk, CELL)
        assert change.shape == (3, 1, *SHAPE, 3)
        assert change.dtype == np.float32
        for k in range(3):
            np.testing.assert_array_equal(change[k, 0], one.difference(sunk[k, 0], CELL))
        assert np.abs(change[0]).max() > 10
        assert not change[1].any()

    def test_the_picture_is_rest_plus_the_rounded_change_without_wrapping(self):
        one, rest = optics(), rest_of()
        rest[:40], rest[-40:] = 2, 253
        sunk = 1.5 * press(1.6e-3)
        wanted = np.clip(np.rint(rest + one.difference(sunk, CELL)), 0, 255)
        np.testing.assert_array_equal(one.render(rest, sunk, CELL), wanted.astype(np.uint8))

    def test_compiled_and_plain_loops_agree(self, monkeypatch):
        pytest.importorskip("numba")
        one, rest = optics(), rest_of()
        fast, fast_picture = one.difference(press(), CELL), one.render(rest, press(), CELL)
        monkeypatch.setattr(shading, "numba", None)
        np.testing.assert_allclose(one.difference(press(), CELL), fast, atol=2e-3)
        assert np.abs(one.render(rest, press(), CELL).astype(int) - fast_picture).max() <= 1

    def test_slopes_are_those_of_a_plane(self):
        y, x = np.mgrid[:30, :40].astype(np.float32)
        right, down = shading.slopes((0.3 * x * 2 + 0.4 * y * 3).astype(np.float32), (3.0, 2.0))
        steep = np.sqrt(1 + 0.3**2 + 0.4**2)
        np.testing.assert_allclose(right[1:-1, 1:-1], 0.3 / steep, rtol=1e-4)
        np.testing.assert_allclose(down[1:-1, 1:-1], 0.4 / steep, rtol=1e-4)

    def test_another_resolution_shows_the_same_press(self):
        one, large = optics(), optics().resized((480, 640))
        small = cv2.resize(large.difference(press(), CELL), SHAPE[::-1], interpolation=cv2.INTER_AREA)
        change = one.difference(press(), CELL)
        assert np.sqrt(((small - change) ** 2).mean()) < 0.03 * np.sqrt((change**2).mean())

    def test_the_grid_of_the_gel_hardly_matters(self):
        fine = press(centre=(160 + 1.5, 120 + 1.5), grid=SHAPE, cell=PITCH)
        change = optics().difference(press(), CELL)
        assert np.sqrt(((optics().difference(fine, PITCH) - change) ** 2).mean()) < 0.08 * np.sqrt((change**2).mean())

    def test_wrong_grids_values_and_rest_images_are_refused(self):
        one = optics()
        with pytest.raises(RecordError, match=r"covers 7\.20 x 9\.60 mm .* 14\.40 x 19\.20 mm"):
            one.difference(press(), (120e-6, 120e-6))
        bad = press()
        bad[3, 3] = np.nan
        with pytest.raises(RecordError, match="NaN"):
            one.difference(bad, CELL)
        with pytest.raises(RecordError, match="resized"):
            one.render(rest_of((480, 640)), press(), CELL)
        with pytest.raises(RecordError, match="uint8"):
            one.render(rest_of().astype(np.float32), press(), CELL)
        with pytest.raises(RecordError, match="positive pitch"):
            replace(one, pitch=(0.0, 1.0))


class TestLamps:
    def test_the_side_that_faces_a_lamp_is_lit(self):
        # The gel sinks towards camera and lamps: a press is a hill to them, and its right slope faces a lamp on the right.
        red = optics((lamps(),)).difference(press(), CELL)[..., 0]
        assert red[110:130, 172:180].mean() > 5
        assert red[110:130, 140:148].mean() < -5

    def test_azimuth_90_is_up(self):
        up = lamps(azimuth_deg=np.array([90.0]), elevation_deg=np.array([30.0]), colour=np.array([[90.0, 0, 0]]))
        red = optics((up,)).difference(press(), CELL)[..., 0]
        assert red[100:108, 150:170].mean() > 5 > -5 > red[132:140, 150:170].mean()

    def test_turning_press_and_lamp_by_a_quarter_turns_the_picture(self):
        square = Optics(shape=(240, 240), pitch=PITCH, stages=(lamps(azimuth_deg=np.array([0.0, 90.0, 180.0])),))
        turned = replace(square, stages=(lamps(azimuth_deg=np.array([90.0, 180.0, 270.0])),))
        sunk = press(centre=(24, 31), grid=(60, 60))
        np.testing.assert_allclose(
            turned.difference(np.rot90(sunk).copy(), CELL), np.rot90(square.difference(sunk, CELL)), atol=2e-3
        )

    def test_a_shadow_falls_on_the_far_side_of_a_low_lamp_and_only_darkens(self):
        low = {"elevation_deg": np.full(3, 8.0)}
        free = optics((lamps(**low),)).difference(press(1.8e-3), CELL)[..., 0]
        cast = optics((lamps(shadow=1.0, **low),)).difference(press(1.8e-3), CELL)[..., 0] - free
        assert cast.max() <= 1e-3
        assert cast[110:130, 90:125].mean() < -3
        assert cast[110:130, 200:235].mean() > -0.5


class TestFiles:
    @pytest.mark.parametrize("name", list(ALL))
    def test_optics_come_back_from_a_file_as_they_were(self, tmp_path, name):
        one = replace(optics(ALL[name]), estimate=True)
        one.save(tmp_path / "o.npz")
        back = load_optics(tmp_path / "o.npz", shape=SHAPE)
        assert (back.shape, back.pitch, back.blur, back.estimate) == (one.shape, one.pitch, one.blur, True)
        np.testing.assert_array_equal(back.difference(press(), CELL), one.difference(press(), CELL))

    def _changed(self, tmp_path, remove=(), **add):
        optics().save(tmp_path / "o.npz")
        with np.load(tmp_path / "o.npz") as data:
            arrays = {key: data[key] for key in data.files if key not in remove}
        np.savez(tmp_path / "o.npz", **(arrays | add))
        return tmp_path / "o.npz"

    @pytest.mark.parametrize(
        ("remove", "add", "says"),
        [
            (("pitch",), {}, r"\['pitch'\] are missing"),
            (("0.slopes.weights",), {}, r"missing keys \['weights'\]"),
            ((), {"0.slopes.colour": np.zeros(3)}, r"unknown keys \['colour'\]"),
            ((), {"2.rainbow.x": np.zeros(3)}, "unknown key '2.rainbow'"),
            ((), {"format": np.array(9)}, "format 9"),
            ((), {"1.spread.taps": np.full((57, 3), 99)}, "levels 0..4"),
            ((), {"0.slopes.exponents": np.full((9, 2), 99)}, "exponents must be"),
        ],
    )
    def test_files_with_wrong_content_are_refused(self, tmp_path, remove, add, says):
        with pytest.raises(DataError, match=says):
            load_optics(self._changed(tmp_path, remove, **add))

    def test_another_resolution_and_files_that_are_none_are_refused(self, tmp_path):
        optics().save(tmp_path / "o.npz")
        with pytest.raises(DataError, match=r"made for \(240, 320\).*asked for \(480, 640\)"):
            load_optics(tmp_path / "o.npz", shape=(480, 640))
        (tmp_path / "p.npz").write_text("no arrays")
        for name in ("p.npz", "absent.npz"):
            with pytest.raises(DataError, match="not a readable optics file"):
                load_optics(tmp_path / name)

    def test_pickled_objects_are_never_loaded(self, tmp_path):
        np.savez(tmp_path / "o.npz", format=np.array([{"a": 1}], dtype=object))
        with pytest.raises(DataError):
            load_optics(tmp_path / "o.npz")


def synthetic(count=8, seed=3, noise=0.5, shift_px=0.0):
    """Presses drawn by known optics, with camera noise and errors of the labelled centres."""
    rng = np.random.default_rng(seed)
    one, rest = Optics(shape=SHAPE, pitch=PITCH, stages=fitted_stages(5)), rest_of()
    rest = cv2.GaussianBlur(rest, (0, 0), 9)
    centres, radii = rng.uniform((90, 80), (230, 160), (count, 2)), rng.uniform(16, 26, count)
    images = []
    for centre, radius in zip(centres, radii, strict=True):
        sunk = ball_sunk(SHAPE, PITCH, tuple(centre), radius * PITCH[0], ball_radius=2.4e-3, thickness=4e-3)
        change = one.difference(sunk, PITCH) + rng.normal(0, noise, (*SHAPE, 3))
        images.append(np.clip(np.rint(rest + change), 0, 255).astype(np.uint8))
    labels = centres + rng.normal(0, shift_px, centres.shape) if shift_px else centres
    return Presses(rest=rest, images=np.stack(images), centre_xy=labels, radius_px=radii), centres


SMALL = FitPlan(thickness=(2e-3, 4e-3), ridge=(1e-5, 1e-3), place=(1.0, 100.0), refine=0)


class TestCalibration:
    def test_known_optics_are_found_again_with_the_gel_thickness(self):
        presses, _ = synthetic(10)
        fit = fit_optics(presses.take(np.arange(8)), ball_radius=2.4e-3, pitch=PITCH, rng=np.random.default_rng(0), plan=SMALL)
        assert fit.report.thickness == 4e-3
        for k in (8, 9):
            centre, radius = tuple(presses.centre_xy[k]), float(presses.radius_px[k])
            score = press_score(presses.rest, presses.images[k], fit.draw(centre, radius), centre, radius)
            assert score.correlation > 0.98
            assert score.nrmse_inside < 0.2
        assert fit.report.in_sample.nrmse < fit.report.held_out.nrmse < 0.35

    def test_errors_of_the_labels_are_found_on_the_fitted_presses(self):
        presses, centres = synthetic(8, shift_px=4.0)
        fit = fit_optics(
            presses,
            ball_radius=2.4e-3,
            pitch=PITCH,
            rng=np.random.default_rng(0),
            plan=replace(SMALL, thickness=(4e-3,), refine=4),
        )
        found = fit.report.circles.fitted[:, :2]
        slip = (presses.centre_xy - centres).mean(axis=0)  # a common shift cannot be seen
        before = np.abs(presses.centre_xy - centres - slip).mean()
        assert np.abs(found - centres - slip).mean() < 0.5 * before
        assert fit.report.circles.spread_px[:2].min() > 2

    def test_impossible_sizes_and_too_few_presses_are_refused(self):
        presses, _ = synthetic(4)
        with pytest.raises(RecordError, match=r"radius \(not diameter\)"):
            fit_optics(presses, ball_radius=0.5e-3, pitch=PITCH, rng=np.random.default_rng(0))
        with pytest.raises(RecordError, match="4 or more"):
            fit_optics(presses.take(np.arange(3)), ball_radius=3e-3, pitch=PITCH, rng=np.random.default_rng(0))
        with pytest.raises(RecordError, match="positive, in metres"):
            fit_optics(presses, ball_radius=3e-3, pitch=(0.0, 1e-4), rng=np.random.default_rng(0))

    def test_darkness_is_found_again_bulge_included(self):
        one = Optics(shape=SHAPE, pitch=PITCH, stages=(DARK,))
        sunk = ball_sunk(SHAPE, PITCH, (150, 120), 2e-3, ball_radius=4e-3, thickness=2e-3)
        rest = np.full((*SHAPE, 3), 160, np.uint8)
        image = one.render(rest, sunk, PITCH)
        presses = Presses(
            rest=rest, images=image[None], centre_xy=np.array([[150.0, 120.0]]), radius_px=np.array([2e-3 / 60e-6])
        )
        fit = fit_darkness(presses, ball_radius=4e-3, pitch=PITCH, thickness=2e-3)
        change = fit.difference(sunk, PITCH)
        score = press_score(rest, image, change, (150.0, 120.0), 2e-3 / 60e-6)
        assert score.nrmse < 0.1
        assert change.max() > 1 > -10 > change.min()


class TestScores:
    def test_a_perfect_drawing_and_an_empty_one(self):
        rest, rng = rest_of(), np.random.default_rng(2)
        change = cv2.GaussianBlur(rng.normal(0, 60, (*SHAPE, 3)), (0, 0), 3)
        image = np.clip(np.rint(rest + change), 0, 255).astype(np.uint8)
        real = image.astype(float) - rest
        perfect, empty = (press_score(rest, image, d, (160, 120), 30) for d in (real, 0 * real))
        assert (perfect.correlation, perfect.nrmse) == (pytest.approx(1), 0)
        assert (empty.correlation, empty.nrmse_inside, empty.nrmse_ring) == (0, 1, 1)
        assert press_score(rest, image, 2 * real, (160, 120), 30).correlation == pytest.approx(1)

    def test_inside_and_ring_see_only_their_own_pixels(self):
        rest = np.full((*SHAPE, 3), 100, np.uint8)
        y, x = np.ogrid[:240, :320]
        ring = (np.hypot(x - 160, y - 120) > 30)[..., None]
        image = np.where(ring, 120, rest + 40 + np.arange(320)[None, :, None] % 7).astype(np.uint8)
        drawn = np.where(ring, 0.0, image.astype(float) - rest)
        score = press_score(rest, image, drawn, (160, 120), 30)
        assert (score.nrmse_inside, score.nrmse_ring) == (0, 1)


class TestFolder:
    def _folder(self, tmp_path, lines=("a.png,150,100,22", "b.png,170.5,120,20"), header="file,x_px,y_px,radius_px", size=None):
        cv2.imwrite(str(tmp_path / "rest.png"), rest_of())
        for name in ("a.png", "b.png"):
            cv2.imwrite(str(tmp_path / name), rest_of(size or SHAPE, seed=4))
        (tmp_path / "presses.csv").write_text("\n".join([header, *lines]) + "\n")
        return tmp_path

    def test_pictures_and_circles_are_read_as_rgb(self, tmp_path):
        presses = read_ball_presses(self._folder(tmp_path))
        assert len(presses) == 2
        np.testing.assert_array_equal(presses.rest, rest_of()[..., ::-1])
        np.testing.assert_array_equal(presses.centre_xy, [[150, 100], [170.5, 120]])
        assert presses.differences().min() < -20

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"header": "file,x_px,y_px"}, r"columns \['radius_px'\] are missing"),
            ({"lines": ()}, "lists no press"),
            ({"lines": ("a.png,150,100,22", "c.png,1,1,9")}, "c.png is missing or no picture"),
            ({"lines": ("a.png,400,100,22",)}, r"a\.png: circle at x 400.*x 0\.\.319"),
            ({"lines": ("a.png,65530,100,22",)}, "wrap"),
            ({"lines": ("a.png,150,100,-3",)}, "radius be positive"),
            ({"lines": ("a.png,150,abc,22",)}, "line 2: .* no three numbers"),
            ({"lines": ("a.png,150,,22",)}, "all of x_px, y_px, radius_px or none"),
            ({"size": (100, 100)}, r"a\.png is \(100, 100\) pixels, rest\.png is \(240, 320\)"),
        ],
    )
    def test_folders_with_wrong_content_are_refused(self, tmp_path, change, says):
        with pytest.raises(DataError, match=says):
            read_ball_presses(self._folder(tmp_path, **change))

    @pytest.mark.parametrize("name", ["rest.png", "presses.csv"])
    def test_a_missing_file_is_named(self, tmp_path, name):
        folder = self._folder(tmp_path)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            read_ball_presses(folder)

    def test_circles_left_empty_are_found_in_the_picture(self, tmp_path):
        presses, centres = synthetic(1, noise=1.0)
        cv2.imwrite(str(tmp_path / "rest.png"), presses.rest[..., ::-1])
        cv2.imwrite(str(tmp_path / "a.png"), presses.images[0][..., ::-1])
        (tmp_path / "presses.csv").write_text("file,x_px,y_px,radius_px\na.png,,,\n")
        found = read_ball_presses(tmp_path)
        assert np.hypot(*(found.centre_xy[0] - centres[0])) < 0.6 * presses.radius_px[0]
        assert 0.4 < found.radius_px[0] / presses.radius_px[0] < 2

    def test_no_circle_in_an_empty_picture(self):
        rest = cv2.GaussianBlur(rest_of(), (0, 0), 9)
        with pytest.raises(RecordError, match="no press found"):
            find_circle(rest, rest)

    def test_pictures_in_another_type_or_shape_are_refused(self):
        presses, _ = synthetic(2)
        with pytest.raises(RecordError, match="uint8"):
            replace(presses, images=presses.images / 255)
        with pytest.raises(RecordError, match=r"\(H, W, 3\) are needed"):
            replace(presses, images=presses.images[:, :100])
        with pytest.raises(RecordError, match="radii"):
            replace(presses, radius_px=np.ones(3))


needs_taxim = pytest.mark.skipif(importlib.util.find_spec("taxim") is None, reason="package taxim is not installed")


@needs_taxim
@pytest.mark.parametrize(("sensor", "count"), [("gelsight", 48), ("gelsight_mini", 24)])
def test_real_presses_change_the_picture_inside_their_circles(sensor, count):
    presses = taxim_presses(sensor)
    assert presses.images.shape == (count, 480, 640, 3)
    check_labels(presses)
    with pytest.raises(DataError, match="not its diameter"):
        check_labels(replace(presses, radius_px=2 * presses.radius_px))
    moved = np.clip(presses.centre_xy + (70.0, 0.0), 0, (639, 479))
    with pytest.raises(DataError, match="the labelled centres lie"):
        check_labels(replace(presses, centre_xy=moved))
    y, x = np.ogrid[:480, :640]
    for k in range(0, count, 7):
        distance = np.hypot(x - presses.centre_xy[k, 0], y - presses.centre_xy[k, 1]) / presses.radius_px[k]
        change = np.abs(presses.images[k].astype(float) - presses.rest).mean(axis=2)
        assert change[distance < 0.7].mean() > 3 * change[distance > 3].mean()


def test_taxim_has_no_other_sensor():
    with pytest.raises(UnknownNameError, match="gelsight_mini"):
        taxim_presses("digit")


@needs_taxim
@pytest.mark.slow
@pytest.mark.parametrize(("sensor", "ball", "correlation"), [("gelsight", 2.38e-3, 0.95), ("gelsight_mini", 3e-3, 0.85)])
def test_held_out_real_presses_are_drawn_better_than_a_nearest_copy(sensor, ball, correlation):
    presses = taxim_presses(sensor)
    order = np.random.default_rng(4).permutation(len(presses))
    half = len(order) // 2
    train, test = order[:half], order[half:][:10]
    plan = FitPlan(thickness=(4e-3,), ridge=(1e-4, 1e-3), place=(1.0, 10.0), refine=4)
    fit = fit_optics(presses.take(train), ball_radius=ball, pitch=(29.5e-6, 29.5e-6), rng=np.random.default_rng(0), plan=plan)
    changes, own, copied = presses.differences(), [], []
    for k in test:
        centre, radius = tuple(presses.centre_xy[k]), float(presses.radius_px[k])
        distance = np.hypot(*(presses.centre_xy[train] - centre).T) + 3 * np.abs(presses.radius_px[train] - radius)
        j = train[distance.argmin()]
        step = presses.centre_xy[k] - presses.centre_xy[j]
        copy = cv2.warpAffine(changes[j], np.array([[1, 0, step[0]], [0, 1, step[1]]], np.float32), (640, 480))
        drawn = fit.draw(*fit.report.circles.expect(presses.centre_xy[k], radius))
        for scores, change in ((own, drawn), (copied, copy)):
            scores.append(press_score(presses.rest, presses.images[k], change, centre, radius))
    assert np.mean([s.correlation for s in own]) > correlation
    assert np.mean([s.nrmse for s in own]) < np.mean([s.nrmse for s in copied])


def test_9dtact_fitted_on_one_unit_holds_on_the_other():
    folder = SHARED / "data" / "tactile_multisensor" / "9dtact"
    if not folder.is_dir():
        pytest.skip("shared/data/tactile_multisensor/9dtact is not there")
    circles, pitches = {1: (243.6, 188.6, 66.3), 2: (279.3, 176.1, 58.9)}, {1: 51e-6, 2: 50e-6}
    units = {}
    for unit, (x, y, radius) in circles.items():
        rest, image = (
            cv2.imread(str(folder / f"sensor_{unit}__depth_calibration__rectify_crop_{what}.png")) for what in ("ref", "sample")
        )
        units[unit] = Presses(rest=rest, images=image[None], centre_xy=np.array([[x, y]]), radius_px=np.array([radius]))
    fit = fit_darkness(units[1], ball_radius=4e-3, pitch=(51e-6, 51e-6), thickness=2e-3)
    other = replace(fit, pitch=(pitches[2], pitches[2]))
    x, y, radius = circles[2]
    sunk = ball_sunk(other.shape, other.pitch, (x, y), radius * pitches[2], ball_radius=4e-3, thickness=2e-3)
    score = press_score(units[2].rest, units[2].images[0], other.difference(sunk, other.pitch), (x, y), radius)
    assert score.correlation > 0.96
    assert score.correlation_inside > 0.98
