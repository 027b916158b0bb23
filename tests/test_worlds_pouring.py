"""The pouring world: beads that obey mechanics, loads that reach the gels, and trials that are what their seed says."""

import numpy as np
import pytest

from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.protocols import Steered
from palpate.core.records import Command, Observation
from palpate.core.units import DEG
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.household_touch import pictured
from palpate.worlds.pouring import CLIP, REFERENCE, STEP, PouringConfig, PouringWorld, clip, reference, rest_picture
from palpate.worlds.pouring_grasp import LOAD, Grasp, draw_trial, knurl_depth
from palpate.worlds.pouring_physics import FRAME, GRAVITY, Beads, Cup

CALM = np.zeros(3)


def cup(**changes):
    values = {
        "radius": 0.025,
        "height": 0.047,
        "mass": 0.05,
        "beads": 40,
        "load": 0.1,
        "spread": 0.05,
        "friction": 0.25,
        "rolling": 0.01,
        "restitution": 0.5,
    }
    return Cup(**(values | changes))


@pytest.fixture(scope="module")
def settled():
    return Beads(cup(spread=0.0), 0.02, np.random.default_rng(0))


@pytest.fixture(scope="module")
def small():
    """A small world that begins where beads soon flow."""
    return PouringWorld(PouringConfig(picture=32, start=80 * DEG, start_spread=0.0, time_limit=2.0))


def tilt(beads, angle, speed=60 * DEG):
    while beads.tilt < angle:
        beads.step(min(beads.tilt + speed * FRAME, angle), CALM)


def test_beads_at_rest_weigh_on_the_cup_what_they_weigh(settled):
    load = np.mean([settled.step(0.0, CALM) for _ in range(6)], axis=0)
    np.testing.assert_allclose(load[:3], [0, 0, -LOAD * GRAVITY], atol=0.005)
    # the moment about the grasp is that of the beads' centre of mass, all alike
    np.testing.assert_allclose(load[4], settled.places[:, 0].mean() * LOAD * GRAVITY, atol=3e-4)
    assert settled.poured == 0.0
    assert settled.speeds.max() < 0.02


def test_beads_stay_in_the_cup_and_hardly_press_into_each_other(settled):
    places = settled.places
    radius = np.cbrt(LOAD / 40 / (2500 * 4 / 3 * np.pi))
    assert np.hypot(places[:, 0], places[:, 1]).max() < 0.025
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(40, 1)]
    assert apart.min() > 2 * radius * 0.85


def test_a_tilted_cup_pours_and_load_plus_poured_beads_is_what_was_filled_in():
    beads = Beads(cup(), 0.02, np.random.default_rng(1))
    tilt(beads, 95 * DEG)
    loads = [beads.step(beads.tilt, CALM) for _ in range(60)]
    held = np.linalg.norm(np.mean([load[:3] for load in loads[-10:]], axis=0)) / GRAVITY
    assert 0.2 * LOAD < beads.poured < LOAD
    np.testing.assert_allclose(held + beads.poured, LOAD, atol=0.002)
    tilt(beads, 170 * DEG)
    for _ in range(20):
        beads.step(beads.tilt, CALM)
    np.testing.assert_allclose(beads.poured, LOAD, rtol=1e-9)


def test_a_ball_rolls_down_a_slope_as_mechanics_say():
    slope, periods = 15 * DEG, 9
    for friction, share in ((0.5, 5 / 7), (0.02, 1 - 0.02 / np.tan(slope))):
        ball = Beads(cup(radius=0.5, beads=1, load=0.001, friction=friction, rolling=0.0), 0.02, np.random.default_rng(0))
        ball.tilt, start = slope, ball.places[0, 0]
        for _ in range(periods):
            ball.step(slope, CALM)
        way = ball.places[0, 0] - start
        # rolling without slip, or sliding where friction does not suffice
        np.testing.assert_allclose(way, share * GRAVITY * np.sin(slope) * (periods * FRAME) ** 2 / 2, rtol=0.01)


def test_more_friction_makes_beads_flow_later():
    flows = []
    for friction, rolling in ((0.05, 0.0), (0.5, 0.05)):
        beads = Beads(cup(beads=80, friction=friction, rolling=rolling), 0.02, np.random.default_rng(2))
        tilt(beads, 90 * DEG)
        flows.append(beads.poured)
    assert flows[0] > flows[1] + 0.01


def grasp(touch: str = "gelsight-mini") -> Grasp:
    rng = np.random.default_rng(3)
    model = pictured(get_sensor(touch), 64)
    return Grasp([TouchSensor(model, k) for k in range(2)], draw_trial("same", rng))


def test_each_gel_carries_half_of_weight_and_moment():
    held = grasp(touch="gelsight-mini-markers")
    # 1.2 N towards the lip, 0.4 N down the cup, and a moment about the axis of the tilt
    left, right = held.contacts(np.array([1.2, 0.0, -0.4]), np.array([0.0, 2e-3, 0.0]))
    np.testing.assert_allclose(left.force[:2], [-0.6, 0.2], rtol=0.1, atol=0.02)
    np.testing.assert_allclose(right.force[:2], [0.6, 0.2], rtol=0.1, atol=0.02)
    np.testing.assert_allclose([left.torque[2], right.torque[2]], [-1e-3, 1e-3], rtol=0.35)


def test_a_heavier_cup_moves_its_imprint_towards_the_lip():
    held = grasp()
    light, heavy = (held.contacts(np.array([pull, 0.0, 0.0]), np.zeros(3))[1] for pull in (0.5, 1.5))
    columns = np.arange(light.sunk.shape[1])

    def middle(contact):
        return (contact.pressure * columns).sum() / contact.pressure.sum()

    moved = (middle(heavy) - middle(light)) * light.pitch[1]
    # half a newton more on a gel of about 4.6 kN/m
    np.testing.assert_allclose(moved, 0.5 / held._stiffness[0], rtol=0.3)


def test_a_knurl_lies_within_its_height_and_is_as_steep_around_the_cup_as_along_it():
    high, pitch = 0.15e-3, 3.25e-3
    place = np.linspace(0, pitch, 40, endpoint=False)
    depth = knurl_depth(place[:, None], place, (high, pitch, 0.3))
    np.testing.assert_allclose([depth.min(), depth.max()], [0.0, high], atol=high / 50)
    steep = [np.square(np.diff(depth, axis=axis)).mean() for axis in (0, 1)]
    np.testing.assert_allclose(steep[0], steep[1], rtol=0.1)


def test_pictures_of_a_knurled_cup_show_a_pull_across_it_as_well_as_one_along_it():
    held = grasp()
    sensor = held._sensors[1]

    def picture(force):
        image = sensor.ideal(held.contacts(np.array(force), np.zeros(3))[1]).image
        assert image is not None
        return image.astype(float)

    rest = picture([0.0, 0.0, 0.0])
    across, along = (np.sqrt(np.square(picture(pull) - rest).mean()) for pull in ([0.6, 0.0, 0.0], [0.0, 0.0, -0.6]))
    assert min(across, along) > 0.5
    assert 0.5 < across / along < 2.0


def test_a_gel_feels_half_a_gram():
    held = grasp()
    one = held.contacts(np.array([1.0, 0.0, 0.0]), np.zeros(3))[0]
    other = held.contacts(np.array([1.0 + 1.2e-3 * GRAVITY, 0.0, 0.0]), np.zeros(3))[0]
    assert other is not one


def test_the_reference_is_taken_of_the_full_upright_cup_and_kept_with_the_trial(small):
    first = small.begin(3, 1)
    last = small.step(Command(joints=np.array([STEP])))
    while not small.done:
        small.step(Command(joints=np.array([-STEP])))
    streams = small.finish().streams
    for finger in ("left", "right"):
        taken = streams[f"touch.{finger}.rest"]
        assert len(taken.values) == REFERENCE
        assert taken.times[-1] < -0.5  # before the cup is brought to where the clock begins
        np.testing.assert_array_equal(rest_picture(first, finger), reference(taken.values))
        assert rest_picture(last, finger) is rest_picture(first, finger)
        assert (rest_picture(first, finger) != clip(first, finger)[-1]).any()
    small.begin(3, 2)
    again = small.begin(3, 1)
    np.testing.assert_array_equal(rest_picture(again, "left"), rest_picture(first, "left"))
    with pytest.raises(RecordError, match="reference of finger 'left'"):
        rest_picture(Observation(), "left")


def test_a_world_is_steered_and_the_same_trial_comes_again_bit_for_bit(small):
    steered: Steered = small
    assert steered.rate_hz == 5.0
    runs = []
    for _ in range(2):
        first = small.begin(4, 1)
        last = small.step(Command(joints=np.array([STEP])))
        runs.append((clip(first, "left"), clip(last, "right"), last.joint_position, small.scale))
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
    other = small.begin(4, 2)
    assert (clip(other, "left") != runs[0][0]).any()


def test_an_episode_holds_three_frames_a_period_and_ends_when_tilted_back(small):
    observation = small.begin(0, 0)
    assert clip(observation, "left").shape == (CLIP, 24, 32, 3)
    periods = 0
    while not small.done:
        small.step(Command(joints=np.array([-STEP])))
        periods += 1
    assert periods == 4  # one degree
    episode = small.finish()
    assert len(episode.streams["touch.left"].values) == CLIP * (periods + 1)
    np.testing.assert_array_equal(episode.streams["arm.command"].values, -1.0)
    # the scale reads after the end what the bowl holds
    np.testing.assert_allclose(episode.streams["scale"].values[-1, 0], episode.truth["poured"], atol=5e-4)
    assert np.all(np.diff(episode.streams["touch.left"].times) > 0)


def test_observations_hold_touch_and_the_measured_tilt_and_nothing_of_the_beads(small):
    observation = small.begin(1, 0)
    assert sorted(observation.touch) == ["left", "left-1", "left-2", "right", "right-1", "right-2"]
    assert observation.object_position is None and observation.camera is None and observation.grip_force is None
    np.testing.assert_allclose(observation.joint_position, 80 * DEG, atol=0.001)


def test_wrong_commands_and_settings_are_refused_with_a_word(small):
    small.begin(0, 0)
    for joints in ([2 * STEP], [0.0, 0.0], [np.nan]):
        with pytest.raises(RecordError, match=r"0\.25 degrees"):
            small.step(Command(joints=np.array(joints)))
    with pytest.raises(UnknownNameError, match="varied"):
        PouringConfig(cups="any")  # pyright: ignore[reportArgumentType]
    with pytest.raises(RecordError, match="radians"):
        PouringConfig(start=62.0)
