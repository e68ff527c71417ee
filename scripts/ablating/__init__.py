"""The paper's ablations at small size: which runs there are, how they are measured, what is written."""
