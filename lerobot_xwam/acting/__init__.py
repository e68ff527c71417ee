"""Acting on a robot: chunks that follow each other without a stop, and imagining while the robot moves."""
