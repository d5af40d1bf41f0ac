"""The Python client of Nexus Realtime.

async with Client() as client:
events = await client.subscribe("ticker:BTC/USDT")
async for channel, kind, message, state in events:
...
"""

from realtime.client.book import Book
from realtime.client.client import Client
from realtime.client.errors import Closed, CommandError
from realtime.client.reader import Event, Reply, Subscription
from realtime.client.state import Step, Stream


__all__ = [
    "Book",
    "Client",
    "Closed",
    "CommandError",
    "Event",
    "Reply",
    "Step",
    "Stream",
    "Subscription",
]
