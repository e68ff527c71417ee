"""One question per function; table.py names them."""
