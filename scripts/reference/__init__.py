"""Our code against numbers recorded from the official X-WAM. One file per kind of recording; see compare.py."""
