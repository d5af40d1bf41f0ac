"""`realtime bench`: the figures of the README, each against comparators in the same run.

The load client, the bare send loop and the bare order taker are C (`load.c`, `sender.c`, `taker.c`), compiled at run time:
the client so that it is not what is measured, the others to show what the machine allows. Servers run in processes of
their own on CPU 0, the load client on CPU 1.
"""
