"""Latents of training windows on disk: a manifest, shards, and the dataset without its frames."""
