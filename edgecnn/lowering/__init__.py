"""From rows to layers, by kind of row: `mobile.py` and `classic.py`, made with `builder.py`."""
