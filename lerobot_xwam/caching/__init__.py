"""Latents computed before training: what they depend on, how they are made, how the policy reads them."""
