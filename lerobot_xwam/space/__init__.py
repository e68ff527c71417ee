"""Where things are: rotations, poses and how they move. numpy only; nothing here knows the network."""
