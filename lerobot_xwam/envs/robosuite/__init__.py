"""Robot arms on robosuite's physics, with exact RGB-D: `--env.type=xwam_robosuite`.

Importing this package imports no simulator.

tasks.py       five tasks, their wordings and how long they may take
sampling.py    where objects start: wide, apart, the same for the same seed
simulation.py  builds robosuite environments, quietly, and says what is missing
graphics.py    which OpenGL to render with, and what to install if there is none
render.py      RGB and depth in one pass, from an OpenGL context that is freed in safety
cameras.py     where the cameras are, their aliases, and the hand-eye matrix
arms.py        one arm: measured pose, gripper, joints; raw controller actions and back
interfaces.py  state and action vectors: `ee` (relative poses), `raw` (controller actions), `native` (joints)
world.py       the built simulation with all of the above
env.py         gymnasium environment
config.py      LeRobot registration
"""
