"""LeRobot's own policies on our demonstrations: their data, their settings, their table."""
