import numpy as np
import pytest

from palpate.core.errors import DataError, PalpateError
from palpate.evaluation.figures_anytouch import SHOWN, TouchMap, shown_touches, write_maps
from palpate.evaluation.neighbours import flat_map, neighbour_shares, neighbours

TOUCHES = 30
SENSORS = np.array(["a", "b", "c"])


def felt(of_touch, of_sensor, noise=0.1, touches=TOUCHES):
    """Features that tell the touch and the sensor as strongly as asked for."""
    rng = np.random.default_rng(1)
    what, who = rng.normal(size=(touches, 12)), rng.normal(size=(3, 12))
    features = of_touch * np.repeat(what, 3, axis=0) + of_sensor * np.tile(who, (touches, 1))
    names = np.repeat(np.array([f"touch {i}" for i in range(touches)]), 3)
    return features + noise * rng.normal(size=features.shape), names, np.tile(SENSORS, touches)


def test_features_of_the_touch_alone_find_nothing_but_the_same_touch():
    shares = neighbour_shares(*felt(1.0, 0.0))
    assert shares.same_touch.value == 1.0
    assert shares.same_sensor.value == 0.0


def test_features_of_the_sensor_alone_find_nothing_but_the_same_sensor():
    shares = neighbour_shares(*felt(0.0, 1.0))
    assert shares.same_touch.value == 0.0
    assert shares.same_sensor.value == 1.0


def test_features_of_nothing_find_what_chance_says():
    features, touch, sensor = felt(0.0, 0.0, touches=200)
    shares = neighbour_shares(features, touch, sensor)
    assert shares.chance_touch == 2 / 599
    assert shares.chance_sensor == 199 / 599
    np.testing.assert_allclose(shares.same_touch.value, shares.chance_touch, atol=0.006)
    np.testing.assert_allclose(shares.same_sensor.value, shares.chance_sensor, atol=0.06)


def test_shares_worked_by_hand():
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.2, 1.0]])
    touch, sensor = np.array(["x", "y", "x", "y"]), np.array(["a", "a", "b", "b"])
    asked, found = neighbours(features, touch, sensor)
    assert asked.tolist() == [0, 1, 2, 3]
    assert found.tolist() == [[0.0, 1.0]] * 4
    swapped = neighbours(features, np.array(["x", "x", "y", "y"]), np.array(["a", "b", "a", "b"]))[1]
    assert swapped.tolist() == [[1.0, 0.0]] * 4


def test_a_touch_that_one_sensor_felt_is_a_neighbour_only():
    features, touch, sensor = felt(1.0, 0.0)
    touch = touch.copy()
    touch[:3] = ["alone 0", "alone 1", "alone 2"]
    asked, found = neighbours(features, touch, sensor)
    assert asked.tolist() == list(range(3, 3 * TOUCHES))
    assert found[:, 0].min() == 1.0


@pytest.mark.parametrize("broken", ["nan", "short", "one sensor"])
def test_what_cannot_be_judged_is_refused(broken):
    features, touch, sensor = felt(1.0, 0.0)
    if broken == "nan":
        features = np.where(np.arange(12) == 3, np.nan, features)
    elif broken == "short":
        touch = touch[:-1]
    else:
        sensor = np.full_like(sensor, "a")
    with pytest.raises(DataError):
        neighbour_shares(features, touch, sensor)


def test_the_map_keeps_near_what_is_alike_and_is_the_same_again():
    features, touch, _ = felt(1.0, 0.0, touches=12)
    place = flat_map(features)
    np.testing.assert_array_equal(place, flat_map(features))
    apart = np.linalg.norm(place[:, None] - place[None], axis=2)
    same = touch[:, None] == touch
    assert apart[same].mean() < 0.5 * apart[~same].mean()
    with pytest.raises(DataError, match="too few"):
        flat_map(features[:4])


def test_the_picture_shows_the_touches_that_most_sensors_felt_and_is_written(tmp_path):
    features, touch, sensor = felt(1.0, 0.0, touches=SHOWN + 4)
    lonely = touch.copy()
    lonely[:3] = ["alone 0", "alone 1", "alone 2"]
    shown = shown_touches(lonely)
    assert len(np.unique(lonely[shown])) == SHOWN
    assert not {"alone 0", "alone 1", "alone 2"} & set(lonely[shown])
    one = TouchMap(features=features, touch=touch, sensor=sensor, shares=neighbour_shares(features, touch, sensor))
    path = write_maps(tmp_path / "new" / "map.png", {"all": one, "again": one})
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(PalpateError, match=r"\.png"):
        write_maps(tmp_path / "map.bmp", {"all": one})
