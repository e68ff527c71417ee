"""Datasets as the X-WAM authors lay them out: a JSON per episode, RGB and depth videos per camera."""
