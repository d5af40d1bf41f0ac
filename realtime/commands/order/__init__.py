"""Ops of orders: place, amend, cancel, look up; and what other ops that place need of them."""

from realtime.commands.order.batch import answer_of, count_items
from realtime.commands.order.cancel import canceled_row
from realtime.commands.order.draft import backing_of, placing_of
from realtime.commands.order.params import Fields, Fraction, PlaceParams, ProbabilitiesParams
from realtime.commands.order.place import Orders
from realtime.commands.order.table import ORDER_ERRORS, ops


__all__ = [
    "ORDER_ERRORS",
    "Fields",
    "Fraction",
    "Orders",
    "PlaceParams",
    "ProbabilitiesParams",
    "answer_of",
    "backing_of",
    "canceled_row",
    "count_items",
    "ops",
    "placing_of",
]
