"""What ops answer: one table, from which `help`, OpenAPI, AsyncAPI and the page's types say it."""

from realtime.commands.results.shapes import Error, Json, Position, schema_of
from realtime.commands.results.table import OPEN, RESULTS, result_of


__all__ = ["OPEN", "RESULTS", "Error", "Json", "Position", "result_of", "schema_of"]
