"""RoboTwin 2.0 through LeRobot's own wrapper, spoken to in the universal interface.

LeRobot's `--env.type=robotwin` shows joints only and takes poses relative to one it does not show. X-WAM
needs the measured poses, so `--env.type=xwam_robotwin` is LeRobot's environment with these in and out.

config.py   LeRobot registration
env.py      the environment
"""
