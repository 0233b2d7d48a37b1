"""The commands of natscore: `nats-server-py`, a drop-in nats-server, and `natscore`, its tools.

Nobody imports this package; it wires the others. A start goes through it in this
order: `arguments` reads the command line by the table in `flags`, `conf` reads the
configuration file if one is named, `settings` turns both into options, `serve`
opens log, files and journal, and runs the server of `natscore` on the runtime of
`natscore_tcp`. On the way out, `texts` and `logs` turn
what these two report into the lines that operators know.
"""
