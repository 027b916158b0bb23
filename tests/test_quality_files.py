"""Contacts from files: read, repaired, refused."""

import json

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.quality.files import read_contacts, result
from palpate.quality.friction import grasp_quality


def grasp():
    return {
        "object_radius_m": 0.03,
        "contacts": [
            {"position_m": [0.03, 0, 0], "normal": [-1, 0, 0], "friction": 0.5, "torsion_radius_m": 0.0015},
            {"position_m": [-0.03, 0, 0], "normal": [1, 0, 0], "friction": 0.5, "torsion_radius_m": 0.0015},
        ],
        "external_wrench": [0, 0, -0.15, 0, 0, 0],
    }


@pytest.fixture
def read(tmp_path):
    def run(content):
        path = tmp_path / "contacts.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        told = []
        return read_contacts(path, told.append), told

    return run


def test_one_object_and_a_list_are_read_and_judged(read):
    (one,), told = read(grasp())
    assert told == []
    said = json.loads(json.dumps(result(grasp_quality(one))))
    np.testing.assert_allclose([said["q"], said["friction_use"], said["residual"]], [np.exp(-0.3), 0.3, 0], atol=1e-5)
    assert said["success"] is True
    np.testing.assert_allclose(np.sum(said["forces"], axis=0), [0, 0, 0.15], atol=1e-6)
    assert len(said["torsion_m"]) == 2
    many, _ = read([grasp(), grasp(), grasp()])
    assert len(many) == 3
    assert read([])[0] == []


def test_a_wrench_in_newtons_is_divided_by_the_normal_force_and_the_radius(read):
    heavy = {**grasp(), "external_wrench": [0, 0, -3.0, 0.12, 0, 0], "normal_force_n": 20.0}
    (contacts,), _ = read(heavy)
    np.testing.assert_allclose(contacts.external_wrench, [0, 0, -0.15, 0.12 / (20 * 0.03), 0, 0], atol=1e-12)


def test_what_may_be_left_out_is_a_point_contact_and_no_wrench(read):
    bare = grasp()
    del bare["external_wrench"], bare["contacts"][0]["torsion_radius_m"]
    (contacts,), _ = read(bare)
    assert contacts.external_wrench is None
    np.testing.assert_array_equal(contacts.torsion_radius, [0.0, 0.0015])


def test_fingers_are_counted(read):
    same = grasp()
    for contact in same["contacts"]:
        contact["finger"] = "th"
    (contacts,), told = read(same)
    assert contacts.fingers == ("th", "th")
    assert len(told) == 1 and "grasp 0: fingers in contact: 1" in told[0]
    assert not grasp_quality(contacts).success


def changed(field, value, contact=1):
    def change(entry):
        (entry["contacts"][contact] if contact is not None else entry)[field] = value

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (changed("normal", [0, 0, 0]), "grasp 1, contact 1, normal: length 0, must be 1"),
        (changed("normal", [3, 0, 0]), "grasp 1, contact 1, normal: length 3, must be 1"),
        (changed("normal", [1, 0]), "grasp 1, contact 1, normal: must be 3 numbers"),
        (changed("normal", [1, float("nan"), 0]), "grasp 1, contact 1, normal: must be finite"),
        (changed("position_m", ["a", 0, 0]), "grasp 1, contact 1, position_m: must be 3 numbers"),
        (changed("friction", 0), "grasp 1, contact 1, friction: must be above 0, got 0"),
        (changed("friction", -0.5), "grasp 1, contact 1, friction: must be above 0"),
        (changed("friction", float("inf")), "grasp 1, contact 1, friction: must be finite"),
        (changed("torsion_radius_m", -0.1), "grasp 1, contact 1, torsion_radius_m: must be 0 or more"),
        (changed("torsion_radius", 0.1), "grasp 1, contact 1: unknown field torsion_radius; allowed"),
        (changed("object_radius_m", 0, None), "grasp 1, object_radius_m: must be above 0"),
        (changed("normal_force_n", -1, None), "grasp 1, normal_force_n: must be above 0"),
        (changed("external_wrench", [0, 0, 1], None), "grasp 1, external_wrench: must be 6 numbers"),
        (changed("weight", 1, None), "grasp 1: unknown field weight"),
        (changed("contacts", {}, None), "grasp 1: must be an object with a list `contacts`"),
        (lambda e: e["contacts"].append(3), "grasp 1, contact 2: must be an object"),
        (lambda e: e["contacts"][1].pop("friction"), "grasp 1, contact 1: lacks friction"),
        (lambda e: e.pop("object_radius_m"), "grasp 1: lacks object_radius_m"),
        (lambda e: [c.update(normal=[-x for x in c["normal"]]) for c in e["contacts"]], "grasp 1, normal: all point outward"),
    ],
)
def test_what_means_nothing_is_refused_by_grasp_contact_and_field(read, change, word):
    entry = grasp()
    change(entry)
    with pytest.raises(DataError, match=word.replace("(", r"\(")):
        read([grasp(), entry])


def test_files_that_hold_no_contacts_are_refused(read, tmp_path):
    with pytest.raises(DataError, match="cannot be read as contacts"):
        read("{")
    with pytest.raises(DataError, match="grasp 0: must be an object"):
        read([3])
    with pytest.raises(DataError, match="cannot be read as contacts"):
        read_contacts(tmp_path / "nowhere.json", lambda line: None)
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(DataError, match="cannot be read as contacts"):
        read_contacts(tmp_path / "text.npz", lambda line: None)


def test_nearly_unit_normals_are_made_unit_and_told(read):
    entry = grasp()
    entry["contacts"][0]["normal"] = [-1.05, 0, 0]
    entry["contacts"][1]["normal"] = [1.0001, 0, 0]
    (contacts,), told = read(entry)
    np.testing.assert_allclose(np.linalg.norm(contacts.normals, axis=1), 1.0, atol=1e-12)
    assert len(told) == 1 and "grasp 0, contact 0, normal: length 1.05, made 1" in told[0]


def test_coincident_contacts_are_merged_with_the_lower_friction_and_told(read):
    entry = grasp()
    entry["contacts"].append({**entry["contacts"][0], "friction": 0.2})
    (contacts,), told = read(entry)
    assert len(told) == 1 and "contacts 0 and 2 coincide; merged" in told[0]
    np.testing.assert_allclose(contacts.friction, [0.2, 0.5])
    pinched = grasp()  # a sheet without thickness: one place, opposite normals
    for contact in pinched["contacts"]:
        contact["position_m"] = [0.01, 0, 0]
    assert len(read(pinched)[0][0].positions) == 2


def test_odd_but_possible_contacts_are_kept_and_told(read):
    outward = grasp()
    outward["contacts"][0]["normal"] = [1, 0, 0]
    (contacts,), told = read(outward)
    assert len(told) == 1 and "normal: outward at contacts [0]" in told[0]
    assert grasp_quality(contacts).q < 1e-6
    far = grasp()
    far["contacts"][0]["position_m"] = [30.0, 0, 0]
    assert "check the units" in read(far)[1][0]


def test_a_single_contact_or_none_is_read_told_and_judged(read):
    single, nothing = grasp(), grasp()
    single["contacts"], nothing["contacts"] = single["contacts"][:1], []
    grasps, told = read([single, nothing])
    assert ["contact: 1;" in told[0], "contact: 0;" in told[1]] == [True, True]
    said = [result(grasp_quality(g)) for g in grasps]
    assert [s["success"] for s in said] == [False, False]
    assert said[0]["residual"] > 0.9
    assert said[1]["residual"] is None


@pytest.fixture
def arrays():
    (entry,) = [grasp()]
    normal = np.array([[c["normal"] for c in entry["contacts"]] + [[0, 0, 0]]] * 2, float)
    return {
        "count": np.array([2, 1]),
        "position_m": np.array([[c["position_m"] for c in entry["contacts"]] + [[np.nan] * 3]] * 2),
        "normal": normal,
        "friction": np.array([[0.5, 0.5, 0.0]] * 2),
        "object_radius_m": np.array([0.03, 0.03]),
        "torsion_radius_m": np.full((2, 3), 0.0015),
        "external_wrench": np.array([entry["external_wrench"]] * 2, float),
        "finger": np.array([["th", "ff", ""]] * 2),
    }


def test_npz_says_the_same_as_json_and_rows_past_the_count_are_not_read(read, arrays, tmp_path):
    np.savez(tmp_path / "contacts.npz", **arrays)
    told = []
    two, one = read_contacts(tmp_path / "contacts.npz", told.append)
    (same,), _ = read(grasp())
    np.testing.assert_allclose(grasp_quality(two).q, grasp_quality(same).q, rtol=1e-12)
    assert two.fingers == ("th", "ff")
    assert len(one.positions) == 1 and "grasp 1: fingers in contact: 1" in told[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"friction": np.full((2, 2), 0.5)}, r"friction must be \(2, 3\)"),
        ({"count": np.array([2, 4])}, "count must hold whole numbers from 0 to 3"),
        ({"normals": np.zeros(2)}, "unknown field normals"),
        ({"count": None}, "lacks count"),
        ({"normal": None}, "lacks normal"),
        ({"object_radius_m": np.array([0.03, np.nan])}, "grasp 1, object_radius_m: must be finite"),
        ({"finger": np.array(["th", "ff"])}, "finger must be"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, tmp_path, change, word):
    arrays = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    np.savez(tmp_path / "contacts.npz", **arrays)
    with pytest.raises(DataError, match=word):
        read_contacts(tmp_path / "contacts.npz", lambda line: None)
