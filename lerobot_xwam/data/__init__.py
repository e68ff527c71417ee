"""Robot and dataset values: layouts, scaling, views. Knows nothing of the network."""
