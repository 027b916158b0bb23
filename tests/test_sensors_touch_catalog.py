import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from palpate.core.errors import DataError, RecordError, UnknownNameError
from palpate.core.protocols import TouchSensor as AnyTouchSensor
from palpate.sensors.touch import catalog, files
from palpate.sensors.touch.contact import Contact, cell_centres
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.sensor import TouchSensor
from palpate.sensors.touch.taxels import flat_points, spread_taxels
from palpate.sensors.touch.tip import TipContact

MODELS = list(catalog.SENSORS.values())
PICTURES = [model for model in MODELS if "image" in model.read_outs]
by_name = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
by_picture = pytest.mark.parametrize("model", PICTURES, ids=lambda model: model.name)


class SlopeShader:
    """Red and green follow the slopes, blue the depth; enough of optics to test what stands around them."""

    def __init__(self, shape):
        self.shape = shape

    def difference(self, sunk, pitch):
        flat = sunk.reshape(-1, *sunk.shape[-2:]).astype(np.float32)
        large = np.stack([cv2.resize(each, self.shape[::-1], interpolation=cv2.INTER_LINEAR) for each in flat])
        colours = np.stack([3e6 * np.gradient(large, axis=2), 3e6 * np.gradient(large, axis=1), -1e5 * large], axis=-1)
        return colours.reshape(*sunk.shape[:-2], *self.shape, 3).astype(np.float32)


def unit(model, seed=0, **options):
    optics = SlopeShader(model.picture_shape) if model.picture_shape else None
    taxels = None
    if model.taxel_count:
        taxels = spread_taxels(np.zeros((24, 3)), np.tile([0.0, 0, 1], (24, 1)), flat_points((36, 48), (1e-3, 1e-3)), 2e-3)
    return TouchSensor(model, seed, optics=optics, taxels=taxels, **options)


def contact(model, lead=(), depth=4e-4, shape=(36, 48), margin=0):
    """A smooth dent with outward drift and a little shear, over the field of view and `margin` more cells on each side."""
    pitch = (model.field_of_view[0] / shape[0], model.field_of_view[1] / shape[1])
    y, x = cell_centres((shape[0] + 2 * margin, shape[1] + 2 * margin), pitch)
    bump = np.exp(-(x**2 + y**2) / (2 * 0.002**2)) * np.ones((*lead, 1, 1))
    outward = np.stack([x * bump, y * bump], axis=-1)
    return Contact(
        pitch=pitch,
        pressure=5e4 * bump,
        shear=np.stack([1e4 * bump, -2e3 * bump], axis=-1),
        sunk=depth * bump,
        drift=0.03 * outward,
        approach=np.full(lead, depth),
    )


@by_name
def test_every_figure_names_its_source_or_says_why_it_is_an_estimate(model):
    assert set(model.figures()) == set(model.sources) | set(model.estimates)
    assert not set(model.sources) & set(model.estimates)
    assert all(len(text) > 10 for text in (*model.sources.values(), *model.estimates.values()))


@by_name
def test_constants_are_those_of_a_soft_pad_of_finger_size(model):
    pad = model.pad
    assert 0.008 <= pad.height <= 0.06 and 0.008 <= pad.width <= 0.06
    assert 0.5e-3 <= pad.thickness <= 0.01 and 1e4 <= pad.young <= 5e6
    assert 0.3 <= pad.poisson < 0.5 and 0.2 <= pad.friction <= 2.0
    assert 5 <= model.rate_hz <= 1000
    assert model.field_of_view[0] <= pad.height * 1.0001 and model.field_of_view[1] <= pad.width * 1.0001


@by_picture
def test_pixels_times_their_number_fill_the_field_of_view(model):
    np.testing.assert_allclose(np.multiply(model.pixel, model.picture_shape), model.field_of_view, rtol=1e-12)
    assert 0.8 < model.pixel[0] / model.pixel[1] < 1.25, "pixels are nearly square"
    if model.markers is not None:
        half = (np.array(model.field_of_view[::-1]) - model.pixel[0]) / 2
        assert np.all(np.abs(model.markers.points()) < half), "all markers are in the picture"
        assert min(model.markers.pitch) > 2.5 * model.markers.radius


def test_published_figures_are_those_of_their_sources():
    digit = catalog.get_sensor("digit")
    assert digit.picture_shape == (320, 240) and digit.rate_hz == 60
    np.testing.assert_allclose(digit.field_of_view, (0.019, 0.016))
    np.testing.assert_allclose(catalog.get_sensor("gelsight-2017").pixel, 0.0295e-3, rtol=1e-9)
    np.testing.assert_allclose(catalog.get_sensor("9dtact").pixel, 0.0510e-3, rtol=1e-9)
    assert catalog.get_sensor("tac3d").field_shape == (20, 20)
    assert catalog.get_sensor("biotac-sp").taxel_count == 24


def test_sensors_without_published_figures_say_so():
    for name in ("duragel", "template"):
        assert not catalog.get_sensor(name).sources
    for name in ("duragel", "tac3d", "biotac-sp"):
        assert {"pad.thickness", "pad.young"} <= set(catalog.get_sensor(name).estimates)


def test_an_unknown_sensor_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"digitt.*biotac-sp, digit, duragel"):
        catalog.get_sensor("digitt")


def test_a_figure_of_unknown_origin_is_refused():
    digit = catalog.get_sensor("digit")
    with pytest.raises(RecordError, match=r"no source or reason for rate_hz"):
        replace(digit, sources={key: value for key, value in digit.sources.items() if key != "rate_hz"})
    with pytest.raises(RecordError, match=r"does not have.*lens"):
        replace(digit, estimates={**digit.estimates, "lens": "a guess at something"})
    with pytest.raises(RecordError, match=r"both source and estimate.*noise"):
        replace(digit, sources={**digit.sources, "noise": "somebody said so"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"read_outs": ("image", "smell")}, "smell"),
        ({"read_outs": ()}, "at least one"),
        ({"read_outs": ("field",)}, "without its constants"),
        ({"rate_hz": 0.0}, "must be above 0: rate 0"),
        ({"name": "a/b"}, "no slash"),
        ({"field_of_view": (0.03, 0.016)}, "larger than the pad"),
        ({"field_of_view": (0.016, 0.019)}, "height x width"),
    ],
)
def test_contradictory_constants_are_refused(changes, words):
    with pytest.raises(RecordError, match=words):
        replace(catalog.get_sensor("digit"), **changes)


@by_name
def test_a_description_comes_back_from_its_file(model, tmp_path):
    files.write_sensor(model, tmp_path / "sensor.json")
    assert files.read_sensor(tmp_path / "sensor.json") == model


def test_a_description_can_be_written_by_hand_as_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        name = "mine"
        read_outs = ["region"]
        field_of_view_mm = [10, 12.5]
        rate_hz = 50
        max_force_n = 20.0
        pad = {height_mm = 10, width_mm = 12.5, thickness_mm = inf, young_kpa = 150, poisson = 0.49, relaxation = [[0.2, 0.5]]}
        [sources]
        "pad.size" = "drawing 7, sheet 2"
        "pad.thickness" = "a half-space stands for a thick block"
        "pad.young" = "own tensile test"
        "pad.friction" = "own tilt test"
        field_of_view = "drawing 7, sheet 2"
        rate_hz = "data sheet"
        noise = "own recording"
        [estimates]
        "pad.poisson" = "nearly incompressible"
        max_force = "a guard"
        """
    )
    model = files.read_sensor(path)
    assert model.field_of_view == (0.01, 0.0125) and model.pad.young == 150e3 and model.pad.thickness == np.inf
    assert model.pad.relaxation == ((0.2, 0.5),) and model.estimates["max_force"] == "a guard"


def described(tmp_path, change):
    """Write the template after `change` on its dict and return the path."""
    files.write_sensor(catalog.get_sensor("template"), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    change(content)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour="red"), r"b\.json.*unknown keys \['colour'\].*allowed: name"),
        (lambda c: c.pop("rate_hz"), r"missing keys \['rate_hz'\]"),
        (lambda c: c["pad"].pop("young_kpa"), r"in pad.*missing keys \['young_kpa'\]"),
        (lambda c: c["pad"].update(young=1.0), r"in pad.*unknown keys \['young'\]"),
        (lambda c: c.update(rate_hz="fast"), "rate_hz must be a number, got 'fast'"),
        (lambda c: c.update(rate_hz=True), "rate_hz must be a number"),
        (lambda c: c.update(picture_shape=[240]), "picture_shape must be a list of 2"),
        (lambda c: c["markers"].update(rows=0), "rows must be a whole number"),
        (lambda c: c.update(read_outs=["smell"]), "read_outs must be a list out of image"),
        (lambda c: c.update(pad=3), "pad must be a table"),
        (lambda c: c["estimates"].pop("noise"), "no source or reason for noise"),
    ],
)
def test_a_wrong_description_is_refused_with_file_and_key(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        files.read_sensor(described(tmp_path, change))


@pytest.mark.parametrize(("name", "content"), [("a.toml", "name = "), ("a.json", "{"), ("a.json", "[]"), ("a.yaml", "name: x")])
def test_a_file_that_is_no_description_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        files.read_sensor(tmp_path / name)
    with pytest.raises(DataError, match="absent"):
        files.read_sensor(tmp_path / "absent.toml")
    with pytest.raises(DataError, match="JSON"):
        files.write_sensor(catalog.get_sensor("digit"), tmp_path / "a.toml")


def test_a_description_names_the_file_of_its_optics(tmp_path):
    digit = catalog.get_sensor("digit")
    digit.optics.save(tmp_path / "lamps.npz")
    files.write_sensor(digit, tmp_path / "digit.json")
    content = json.loads((tmp_path / "digit.json").read_text())
    (tmp_path / "digit.json").write_text(json.dumps({**content, "optics": "lamps.npz"}))
    again = TouchSensor(files.read_sensor(tmp_path / "digit.json"), 4)
    np.testing.assert_array_equal(again.ideal(contact(digit)).image, TouchSensor(digit, 4).ideal(contact(digit)).image)
    (tmp_path / "digit.json").write_text(json.dumps({**content, "optics": "nowhere.npz"}))
    with pytest.raises(DataError, match="nowhere"):
        files.read_sensor(tmp_path / "digit.json")


@by_picture
def test_catalogued_optics_show_a_press_and_nothing_without_one(model):
    sensor = TouchSensor(model, 2)
    rest = sensor.rest().image.astype(int)
    nothing = contact(model, depth=0.0)
    np.testing.assert_array_equal(sensor.ideal(replace(nothing, drift=np.zeros_like(nothing.drift))).image, rest)
    changes = [np.abs(sensor.ideal(contact(model, depth=depth)).image - rest).mean() for depth in (2e-4, 4e-4, 8e-4)]
    assert 0.3 < changes[0] < changes[1] < changes[2]


@by_picture
def test_no_contact_gives_the_rest_image_bit_for_bit(model):
    sensor = unit(model)
    rest = sensor.rest().image
    sensor.begin_episode(np.random.default_rng(0))
    nothing = contact(model, depth=0.0)
    nothing = replace(nothing, drift=np.zeros_like(nothing.drift))
    np.testing.assert_array_equal(sensor.ideal(nothing).image, rest)
    np.testing.assert_array_equal(sensor.ideal(None).image, rest)
    assert rest.shape == (*model.picture_shape, 3) and rest.dtype == np.uint8
    assert np.abs(sensor.ideal(contact(model)).image.astype(int) - rest).max() > 20, "a press shows"


@by_name
def test_a_batch_reads_as_its_members_do(model):
    sensor = unit(model)
    batch = contact(model, lead=(2, 2), depth=3e-4)
    together, alone = sensor.ideal(batch), sensor.ideal(contact(model, depth=3e-4))
    for name in ("image", "markers", "displacement", "force", "region"):
        one, many = getattr(alone, name), getattr(together, name)
        assert (one is None) == (many is None)
        if one is not None:
            assert many.shape == (2, 2, *one.shape)
            np.testing.assert_allclose(many[1, 0], one, rtol=1e-12, atol=1e-18)


def test_units_and_gels_differ_and_equal_seeds_do_not():
    model = catalog.get_sensor("digit")
    rest = {
        key: unit(model, seed, gel=gel).rest().image.astype(int) for key, seed, gel in (("a", 1, 0), ("b", 1, 1), ("c", 2, 0))
    }
    np.testing.assert_array_equal(unit(model, 1).rest().image, rest["a"])
    other_gel, other_unit = (np.abs(rest["a"] - rest[key]).mean() for key in "bc")
    assert 0.5 < other_gel < other_unit


def test_rest_images_of_digits_lie_about_where_real_ones_do():
    """Three published rest images have mean levels of 91 to 106, and standard deviations of 21 to 54."""
    images = np.array([unit(catalog.get_sensor("digit"), seed).rest().image for seed in range(12)], float)
    means, spreads = images.mean(axis=(1, 2)), images.std(axis=(1, 2))
    np.testing.assert_allclose(means.mean(axis=0), (96, 101, 96), atol=6)
    assert spreads.min() > 12 and spreads.max() < 60


def test_wear_grows_stays_and_goes_with_the_gel():
    sensor = unit(catalog.get_sensor("gelsight-mini"), 3)
    images = [sensor.worn(presses).rest().image.astype(int) for presses in (0, 300, 3000)]
    np.testing.assert_array_equal(images[0], sensor.rest().image)
    assert np.all(images[1] <= images[0]) and np.all(images[2] <= images[1])
    assert images[0].mean() - images[1].mean() < images[0].mean() - images[2].mean()
    fresh = sensor.worn(3000).replace_gel()
    assert (fresh.gel, fresh.presses) == (1, 0)
    np.testing.assert_array_equal(fresh.rest().image, sensor.replace_gel().rest().image)
    with pytest.raises(RecordError, match="replaced gel starts at 0"):
        sensor.worn(-1)


def test_equal_randomness_gives_equal_frames_and_noise_has_the_stated_size():
    model = catalog.get_sensor("gelsight-mini")
    quiet = replace(model, noise=replace(model.noise, gain=0.0, offset=0.0, pattern=0.0))
    sensor, press = unit(quiet), contact(model)
    sensor.begin_episode(np.random.default_rng(0))
    one, again, other = (sensor.frame(press, np.random.default_rng(seed), 0.0).image for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)
    frames = np.array([sensor.frame(None, np.random.default_rng(seed), 0.0).image for seed in range(40)], float)
    # Rounding to whole levels adds 1/12 to the variance.
    np.testing.assert_allclose(frames.std(axis=0).mean(), np.hypot(0.97, 12**-0.5), rtol=0.05)
    np.testing.assert_allclose(frames.mean(axis=0), sensor.rest().image, atol=1.5)


def test_an_episode_has_a_contrast_brightness_and_pattern_of_its_own():
    sensor = unit(catalog.get_sensor("gelsight-mini"))
    images = []
    for seed in range(30):
        sensor.begin_episode(np.random.default_rng(seed))
        images.append(sensor.sense(None, np.random.default_rng(0)).image.astype(float))
    shift = (np.array(images) - sensor.rest().image).mean(axis=(1, 2, 3))
    assert 1.5 < shift.std() < 3.5, "brightness: 2.4 levels between episodes"
    contrast = [np.polyfit(sensor.rest().image.ravel().astype(float), image.ravel(), 1)[0] for image in images]
    assert 0.02 < np.std(contrast) < 0.09, "gain: 0.047 between episodes, and the pattern's part"


def test_a_field_carries_the_net_force_and_the_surface():
    sensor = unit(catalog.get_sensor("tac3d"))
    press = contact(sensor.model, lead=(3,), shape=(33, 47))
    reading = sensor.ideal(press)
    assert reading.force.shape == reading.displacement.shape == (3, 20, 20, 3)
    np.testing.assert_allclose(reading.force.sum(axis=(1, 2)), press.force, rtol=1e-12)
    np.testing.assert_allclose(reading.region, press.force[:, 2], rtol=1e-12)
    nearest = 4e-4 * np.exp(-2 * 0.0005**2 / (2 * 0.002**2))  # the field's points lie half a millimetre beside the middle
    np.testing.assert_allclose(reading.displacement[0, :, :, 2].max(), nearest, rtol=0.02)
    frame = sensor.frame(contact(sensor.model), np.random.default_rng(0), 1.5)
    assert frame.image is None and frame.taxels.shape == (400, 6) and frame.time == 1.5
    assert not sensor.rest().taxels.any()


def tip_contact(count=1728):
    """A push of 2 N along z, spread over the facets of some tip."""
    normals = np.tile([0.0, 0.0, 1.0], (count, 1))
    return TipContact(
        points=np.zeros((count, 3)),
        areas=np.full(count, 1e-7),
        facing=normals,
        normals=normals,
        pressure=np.full(count, 2.0 / (count * 1e-7)),
        shear=np.zeros((count, 3)),
        displacement=np.zeros((count, 3)),
        approach=np.zeros(()),
    )


def test_taxels_and_region_carry_the_net_force_of_flat_and_curved_contacts():
    sensor = unit(catalog.get_sensor("biotac-sp"))
    for press in (contact(sensor.model), contact(sensor.model, lead=(4,)), tip_contact()):
        reading = sensor.ideal(press)
        np.testing.assert_allclose(reading.taxels.sum(axis=-2), press.force, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(reading.region, press.force[..., 2], rtol=1e-9)
    assert sensor.rest().taxels.shape == (24, 3) and not sensor.rest().taxels.any()
    with pytest.raises(RecordError, match="is flat"):
        unit(catalog.get_sensor("tac3d")).ideal(tip_contact())


def test_a_contact_of_a_larger_pad_is_cut_to_the_field_of_view():
    sensor = unit(catalog.get_sensor("template"))
    wide, narrow = (sensor.ideal(contact(sensor.model, margin=margin)) for margin in (5, 0))
    np.testing.assert_allclose(wide.markers, narrow.markers, atol=1e-9)
    np.testing.assert_array_equal(wide.image, narrow.image)
    small = contact(sensor.model)
    small = replace(small, pitch=(small.pitch[0] * 0.8, small.pitch[1]))
    with pytest.raises(RecordError, match="does not cover"):
        sensor.ideal(small)


def test_a_unit_presses_surfaces_and_is_a_touch_sensor():
    sensor: AnyTouchSensor = unit(catalog.get_sensor("gelsight-mini"))
    y, x = cell_centres((30, 40), (0.01416 / 30, 0.01888 / 40))
    gap = (x**2 + y**2) / (2 * 0.004)
    frame = sensor.press(gap, 2.0, time=0.25)
    assert frame.image.shape == (240, 320, 3) and frame.time == 0.25
    np.testing.assert_array_equal(sensor.press(gap, 0.0).image, sensor.rest().image)
    with pytest.raises(RecordError, match="is the force in newtons"):
        sensor.press(gap, 2000.0)
    with pytest.raises(RecordError, match="over the whole pad"):
        sensor.press(gap[0], 1.0)


def test_dots_are_seen_where_markers_are_reported():
    sensor = unit(catalog.get_sensor("gelsight-mini-markers"))
    still, pressed = sensor.ideal(None), sensor.ideal(contact(sensor.model))
    assert np.abs(pressed.markers - still.markers).max() > 0.5, "the press moves some by more than half a pixel"
    for reading in (still, pressed):
        grey = reading.image.astype(float).mean(axis=2)
        col, row = np.rint(reading.markers).astype(int).T
        assert np.all(grey[row, col] < 0.5 * np.median(grey))


def test_what_a_unit_needs_is_asked_for():
    with pytest.raises(RecordError, match="has no optics"):
        TouchSensor(replace(catalog.get_sensor("digit"), optics=None), 0)
    with pytest.raises(RecordError, match="gives 24 taxels"):
        TouchSensor(catalog.get_sensor("biotac-sp"), 0)
    with pytest.raises(RecordError, match="needs a rest image"):
        unit(catalog.get_sensor("digit"), rest_image=np.zeros((240, 320, 3), np.uint8))
    wrong = TouchSensor(catalog.get_sensor("digit"), 0, optics=SlopeShader((10, 10)))
    with pytest.raises(RecordError, match="belong to another sensor"):
        wrong.ideal(contact(wrong.model))
    with pytest.raises(RecordError, match="gives no picture"):
        unit(catalog.get_sensor("tac3d")).image_shape  # noqa: B018


def test_a_real_rest_image_can_stand_for_a_drawn_one():
    picture = np.random.default_rng(0).integers(40, 200, (320, 240, 3)).astype(np.uint8)
    np.testing.assert_array_equal(unit(catalog.get_sensor("digit"), rest_image=picture).rest().image, picture)


def test_models_are_constants():
    model: SensorModel = catalog.get_sensor("digit")
    with pytest.raises(AttributeError):
        model.rate_hz = 3.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        catalog.SENSORS["digit"] = model  # type: ignore[index]
