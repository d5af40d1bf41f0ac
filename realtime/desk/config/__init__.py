"""The runtime configuration: typed sections, and the book of its versions."""
