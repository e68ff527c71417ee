"""How the tiny codecs are made: clips of the tabletop world, a small VAE, a random text encoder."""
