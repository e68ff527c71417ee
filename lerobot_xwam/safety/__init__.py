"""Safety at the border to a robot: what may leave, and what is not to be trusted."""
