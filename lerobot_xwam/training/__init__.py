"""What only training needs: randomness per sample, passes, averages, optimisers, and who owns the weights."""
