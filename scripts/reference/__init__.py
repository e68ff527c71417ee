"""Our code against numbers recorded from the official X-WAM: one file per kind, see compare.py."""
