"""The documents that a page is made of, one file per kind, each found by its file name."""
