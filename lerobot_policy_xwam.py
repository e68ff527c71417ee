"""Discovery: LeRobot imports every distribution named `lerobot_policy_*` under that very name, so this
module has to exist beside the package; importing it registers X-WAM's policy, environments and robots.
"""

import lerobot_xwam  # noqa: F401
