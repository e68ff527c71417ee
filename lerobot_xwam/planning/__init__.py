"""How much memory what takes, before anybody rents the GPU: the network's own code runs without memory."""
