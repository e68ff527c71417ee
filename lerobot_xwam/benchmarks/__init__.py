"""What the benchmarks' robots say and take, and the universal interface: frames, signs, cameras, limits."""
