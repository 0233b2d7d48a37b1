"""The rows: `top` for what stands in the file itself, the other modules for its blocks.

`rows` has the few words that rows are written with.
"""
