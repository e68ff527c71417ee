"""Imagined worlds for the eye: films, coloured depth, clouds, a recording, and a page that opens offline."""
