import numpy as np
import pytest

from palpate.core.actions import ActionSpace
from palpate.core.errors import UnknownNameError
from palpate.core.records import Observation
from palpate.planning.regrasp import RandomPolicy, RegraspPolicy
from palpate.planning.search import ExhaustiveSearch, Objective, SamplingSearch

SPACE = ActionSpace(
    motion_low=(-0.01, -0.01, -0.01, -0.26),
    motion_high=(0.01, 0.01, 0.01, 0.26),
    joints=(0.1, 0.2, 0.3, 0.4),
    active=(1, 3),
    joint_low=(0.5, 0.6),
    joint_high=(0.8, 0.9),
)


class Bowl:
    """Stability falls off with the distance from a known action; gentleness falls with the sum of the active joints."""

    outcomes = ("stable", "gentle")

    def __init__(self, gentle_offset=0.0, stable_offset=4.0):
        self.best = SPACE.vectors(np.array([[0.3, -0.4, 0.2, 0.5, 0.6, 0.4]]))[0]
        self.scale = SPACE.vectors(np.ones((1, 6)))[0] - SPACE.vectors(np.zeros((1, 6)))[0]
        self.gentle_offset, self.stable_offset = gentle_offset, stable_offset
        self.n = 0

    def encode(self, observation):
        return observation

    def coordinates(self, actions):
        active = [0, 1, 2, 3, 5, 7]
        return (actions[:, active] - self.best[active]) / self.scale[active]

    def score(self, state, actions):
        self.n += len(actions)
        free = self.coordinates(actions.astype(np.float64))
        stable = self.stable_offset - 4.0 * np.square(free).sum(axis=1)
        gentle = 2.0 + self.gentle_offset - 5.0 * free[:, 4:].sum(axis=1)
        return (1.0 / (1.0 + np.exp(-np.stack([stable, gentle], axis=1)))).astype(np.float32)


SEARCHES = [ExhaustiveSearch(n_random=20_000, n_fingers_only=1_000), SamplingSearch()]


@pytest.mark.parametrize("search", SEARCHES, ids=["exhaustive", "sampling"])
def test_the_optimum_without_constraint_is_found(search):
    model = Bowl()
    plan = search(model, None, SPACE, np.random.default_rng(0), Objective(subject_to=None))
    tolerance = 0.12 if isinstance(search, SamplingSearch) else 0.6  # 20,000 random actions in six dimensions lie 0.3 apart
    np.testing.assert_allclose(model.coordinates(plan.action[None])[0], 0.0, atol=tolerance)
    assert plan.feasible
    assert plan.n_evaluations == model.n


@pytest.mark.parametrize("search", SEARCHES, ids=["exhaustive", "sampling"])
def test_the_constraint_is_honoured_and_nearly_active_at_the_constrained_optimum(search):
    # gentle > 0.95 means 2 - 5 (x + y) > 2.944, so x + y < -0.1889; nearest to the bowl's centre: x = y = -0.0944.
    # There stable = sigmoid(4 - 4 * 2 * 0.0944**2) = sigmoid(3.929) = 0.9807.
    plan = search(Bowl(), None, SPACE, np.random.default_rng(1), Objective())
    assert plan.feasible
    assert plan.predicted["gentle"] > 0.95
    limit = 1.0 / (1.0 + np.exp(-3.9288))
    assert plan.predicted["stable"] <= limit + 1e-4
    assert plan.predicted["stable"] > limit - (0.002 if isinstance(search, SamplingSearch) else 0.03)


def test_the_sampling_search_beats_many_more_random_actions():
    gains = []
    for seed in range(10):
        sampled = SamplingSearch()(Bowl(), None, SPACE, np.random.default_rng(seed), Objective())
        random = ExhaustiveSearch(n_random=20_000, n_fingers_only=0)(
            Bowl(), None, SPACE, np.random.default_rng(seed), Objective()
        )
        assert sampled.n_evaluations < random.n_evaluations
        gains.append(sampled.predicted["stable"] - random.predicted["stable"])
    assert min(gains) > -0.001
    assert np.mean(gains) > 0.0


@pytest.mark.parametrize("search", SEARCHES, ids=["exhaustive", "sampling"])
def test_without_a_feasible_action_the_plan_says_so_and_weighs_both_outcomes(search):
    model = Bowl(gentle_offset=-20.0)
    plan = search(model, None, SPACE, np.random.default_rng(2), Objective())
    assert not plan.feasible
    assert plan.predicted["gentle"] <= 0.95
    assert plan.n_evaluations == model.n
    others = model.score(None, SPACE.sample(np.random.default_rng(3), 2_000)).astype(float)
    product = plan.predicted["stable"] * plan.predicted["gentle"]
    assert product >= np.quantile(others.prod(axis=1), 0.999)


def test_any_feasible_action_ranks_before_any_infeasible_one():
    objective = Objective(threshold=0.9)
    main = np.array([0.01, 0.99, 0.5, 0.3])
    constrained = np.array([0.91, 0.90, 0.99, 0.2])  # 0.90 itself is not above the threshold
    order = np.argsort(-objective.rank(main, constrained))
    assert order.tolist() == [2, 0, 1, 3]


def test_a_model_without_the_outcome_is_refused_with_the_names_it_has():
    with pytest.raises(UnknownNameError, match=r"'quiet'; allowed: gentle, stable"):
        Objective(subject_to="quiet").values(np.zeros((1, 2)), ("stable", "gentle"))


def test_the_same_seed_gives_the_same_plan_and_all_actions_stay_in_the_space():
    plans = [SamplingSearch()(Bowl(), None, SPACE, np.random.default_rng(5), Objective()) for _ in range(2)]
    np.testing.assert_array_equal(plans[0].action, plans[1].action)
    low, high = SPACE.vectors(-np.ones((1, 6)))[0], SPACE.vectors(np.ones((1, 6)))[0]
    assert np.all(plans[0].action >= low - 1e-6)
    assert np.all(plans[0].action <= high + 1e-6)


def test_staying_in_place_is_among_the_candidates_of_an_unsymmetric_space():
    space = ActionSpace(
        motion_low=(-0.01, 0.0, -0.003, 0.0),
        motion_high=(0.02, 0.0, 0.01, 0.1),
        joints=(0.0,),
        active=(0,),
        joint_low=(0.0,),
        joint_high=(1.0,),
    )
    seen = []

    class Spy(Bowl):
        def score(self, state, actions):
            seen.append(np.abs(actions[:, :4]).max(axis=1).min())
            return np.full((len(actions), 2), 0.5, np.float32)

    SamplingSearch(iterations=3)(Spy(), None, space, np.random.default_rng(0), Objective())
    np.testing.assert_allclose(seen, 0.0, atol=1e-9)


def policy(model, **changes):
    initial = np.array([0.1, 0.55, 0.3, 0.65])
    return RegraspPolicy(model=model, space=SPACE, initial_joints=initial, **changes)


def test_the_policy_lifts_when_the_constrained_best_is_sure_to_be_stable():
    decision = policy(Bowl()).act(Observation(), 0, np.random.default_rng(0))
    assert decision.lift
    assert decision.predicted["gentle"] > 0.95
    assert decision.predicted["stable"] > 0.95


def test_an_unsure_policy_moves_with_the_initial_hand_pose_and_looks_again():
    model = Bowl(stable_offset=2.0)  # stability is at most sigmoid(2) = 0.88
    decision = policy(model).act(Observation(), 0, np.random.default_rng(0))
    assert not decision.lift
    np.testing.assert_allclose(decision.action.joints, [0.1, 0.55, 0.3, 0.65], atol=1e-6)
    motion = decision.action.motion / model.scale[:4] - model.best[:4] / model.scale[:4]
    np.testing.assert_allclose(motion, 0.0, atol=0.12)  # towards the most stable place
    scores = model.score(None, decision.action.vector()[None])[0]
    np.testing.assert_allclose([decision.predicted["stable"], decision.predicted["gentle"]], scores, atol=1e-6)


def test_the_last_look_lifts_with_the_constrained_best_even_when_unsure():
    model = Bowl(stable_offset=2.0)
    decision = policy(model, max_looks=2).act(Observation(), 1, np.random.default_rng(0))
    assert decision.lift
    assert decision.predicted["gentle"] > 0.95


def test_an_infeasible_constraint_is_not_lifted_before_the_last_look():
    model = Bowl(gentle_offset=-20.0)
    assert not policy(model).act(Observation(), 0, np.random.default_rng(0)).lift
    assert policy(model).act(Observation(), 2, np.random.default_rng(0)).lift


def test_the_random_policy_draws_inside_the_space_and_lifts():
    rng = np.random.default_rng(0)
    vectors = np.stack([RandomPolicy(space=SPACE).act(Observation(), 0, rng).action.vector() for _ in range(200)])
    assert vectors[:, 0].min() < -0.008
    assert vectors[:, 0].max() > 0.008
    assert np.all(np.abs(vectors[:, :3]) <= 0.01 + 1e-9)
    np.testing.assert_allclose(vectors[:, [4, 6]], [[0.1, 0.3]] * 200, atol=1e-7)
