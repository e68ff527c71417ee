"""Frozen networks at the border: video VAE, text encoder, and the metric depth code. Never part of a saved
policy.
"""
