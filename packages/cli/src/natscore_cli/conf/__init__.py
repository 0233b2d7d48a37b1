"""The configuration file: its language, its options, and what they come to.

`parser` turns text into a tree by the grammar in `grammar.lark`; `resolve` puts
variables and included files into it; `options` reads it by the tables of `table`,
and `effect` says which of it this server obeys. Nothing here is imported unless
a configuration file is given.
"""
