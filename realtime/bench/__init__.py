"""`realtime bench`: the figures of the README, each against comparators in the same run.

The load client and the bare send loop are C (`load.c`, `sender.c`), compiled at run time, so that neither is what
is measured. Servers run in processes of their own on CPU 0, the load client on CPU 1.
"""
