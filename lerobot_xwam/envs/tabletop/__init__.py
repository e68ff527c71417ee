"""A tiny tabletop world with exact RGB-D: for tests and a first run, before a real simulator is installed.

geometry.py   angles and viewpoints
render.py     ray casting: primitives -> RGB and depth along the optical axis
shading.py    colours of the hit points: light, shadow on the table, anti-aliasing
cameras.py    where the cameras are, and the wrist camera that moves with the gripper
tasks.py      the two tasks and their wordings
world.py      kinematic state: arms, cubes, grasping, success
scene.py      world state -> primitives to draw
interfaces.py state and action vectors: `ee` (end effector) and `native` (joints)
expert.py     scripted expert
play.py       arms that wander, for a world model that has to follow any action
env.py        gymnasium environment
config.py     LeRobot registration as `--env.type=xwam_tabletop`
dataset.py    episodes as a LeRobotDataset
"""
