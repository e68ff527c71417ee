"""Names of weights: one table from ours to the official release and to diffusers, inverses derived."""
