"""MuJoCo scenes: hand, toys, cameras. The only room that imports mujoco."""
