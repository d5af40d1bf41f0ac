"""Built-in strategies, one file each; a user's own file looks just like them."""
