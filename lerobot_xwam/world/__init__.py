"""The imagined world in metres: footage, cameras, point clouds, and how close they came to the truth."""
