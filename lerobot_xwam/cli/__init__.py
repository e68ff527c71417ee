"""`lerobot-xwam <verb>`: thin commands over the package."""
